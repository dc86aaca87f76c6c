// Package power ends the machine.
package power

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Off powers the machine off. It syncs nothing and does not return. A machine that cannot power off (microvm has no ACPI) is reset, which its
// hypervisor takes for the same; there the kernel would otherwise halt for ever.
func Off() {
	command := unix.LINUX_REBOOT_CMD_POWER_OFF
	if !canPowerOff() {
		command = unix.LINUX_REBOOT_CMD_RESTART
	}
	_ = unix.Reboot(command)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // there is no one to tell
	os.Exit(1)                                     // and the kernel panics, which resets
}

// Sync writes all disks out.
func Sync() { unix.Sync() }

// canPowerOff reports whether the kernel has a way: ACPI's, or PSCI's of arm64 and other device trees.
func canPowerOff() bool {
	if _, err := os.Stat("/sys/firmware/devicetree/base/psci"); err == nil {
		return true
	}
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil || strings.Contains(" "+strings.TrimSpace(string(line))+" ", " acpi=off ") {
		return false
	}
	_, err = os.Stat("/sys/firmware/acpi/tables")
	return err == nil
}
