package template

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func changed(stat *syscall.Stat_t) int64 { return stat.Ctimespec.Nano() }

// bootID of the host as it runs now.
func bootID() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }
