package bootid

import "golang.org/x/sys/unix"

// Read returns the id of the host's present boot.
func Read() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }
