package machine

import (
	"fmt"
	"strings"

	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// kernelHZ is CONFIG_HZ of our kernel; another only makes a delay loop longer or shorter.
const kernelHZ = 100

// lapicWord is the rate of QEMU's local APIC timers. Without another clock than the timer's the PIT is the better one.
const lapicWord = "lapic_timer_khz=1000000"

// randomizeWord has the guest place code at random once per boot, not once per process: translations of it are found by virtual address.
const randomizeWord = "vzctl.randomize=" + randomizeBoot

// Values of OptionRandomize.
const (
	randomizeBoot    = "boot"
	randomizeProcess = "process"
)

// Words returns the kernel's command line: its own words, and those that machine and accelerator need. The reasons, with figures, are in
// kernel/README.md, table "What depends on machine and accelerator".
func Words(s hypervisor.Spec, host Host, console bool) string {
	words := strings.Fields(s.Kernel.CommandLine)
	if console {
		words = append(words, "console="+profiles[s.Arch].console)
	}
	if s.Arch == "amd64" {
		words = append(words, x86Words(s, host)...)
	}
	if host.Accelerator == TCG && s.Options[OptionRandomize] != randomizeProcess {
		words = append(words, randomizeWord)
	}
	return strings.Join(words, " ")
}

func x86Words(s hypervisor.Spec, host Host) []string {
	words := []string{"pci=off"}
	if !needsACPI(s) {
		words = append(words, "acpi=off")
	}
	if host.Accelerator != TCG {
		return words
	}
	// With ACPI the timer's interrupt is not where the kernel looks for it, and the local APIC's is the only one there is.
	lapic := s.CPUs > 1 || needsACPI(s)
	if !lapic {
		words = append(words, "nolapic_timer")
	}
	if host.TSCKilohertz == 0 {
		return words
	}
	if !strings.Contains(s.Kernel.CommandLine, "lapic") && !strings.Contains(s.Kernel.CommandLine, "noapictimer") { // whose word goes over ours
		words = append(words, lapicWord) // after that against it, over which it goes in our kernel
	}
	words = append(words, "tsc=reliable", fmt.Sprintf("tsc_early_khz=%d", host.TSCKilohertz), "initcall_blacklist=init_tsc_clocksource")
	if lapic {
		words = append(words, fmt.Sprintf("lpj=%d", host.TSCKilohertz*1000/kernelHZ))
	}
	return words
}
