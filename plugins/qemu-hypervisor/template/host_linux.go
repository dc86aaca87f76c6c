package template

import (
	"os"
	"strings"
	"syscall"
)

func changed(stat *syscall.Stat_t) int64 { return stat.Ctim.Nano() }

// bootID of the host as it runs now.
func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}
