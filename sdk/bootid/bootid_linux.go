package bootid

import (
	"os"
	"strings"
)

// Read returns the id of the host's present boot.
func Read() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}
