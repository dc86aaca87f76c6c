// Package accel decides how a guest's instructions are executed. Files: accel.go decides, probe.go asks a child process whether KVM is any good and
// remembers the answer until the next boot, kvm_linux_amd64.go is what that child does, tsc.go measures the host's cycle counter.
//
// KVM is not believed. On some machines, nested ones with a software-only KVM, /dev/kvm opens, makes VMs and runs ten instructions, but a million a
// second, and no kernel ever boots. So KVM is taken only after a guest has shown speed.
package accel

import (
	"context"
	"fmt"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Host is what the decision depends on.
type Host struct {
	OS, Arch string  // as Go names them
	KVM      Verdict // of Linux
}

// Verdict is whether an accelerator is any good, and why people should believe that.
type Verdict struct {
	Usable bool   `json:"usable"`
	Reason string `json:"reason"`
}

// Choice is an accelerator and the reason for it.
type Choice struct {
	Accelerator string
	Note        string
}

// Choose decides for a guest of an architecture; wish is "auto" or "" or the name of an accelerator, which is then taken if it exists at all: the
// user may know better than the probe.
func Choose(host Host, wish, guestArch string) (Choice, error) {
	native := guestArch == host.Arch
	switch wish {
	case "", "auto":
		return choose(host, native, guestArch), nil
	case machine.TCG:
		return Choice{machine.TCG, "asked for"}, nil
	case machine.KVM, machine.HVF:
		needed := map[string]string{machine.KVM: "linux", machine.HVF: "darwin"}[wish]
		cause := fmt.Errorf("%s runs no %s guests on an %s host", wish, guestArch, host.Arch)
		switch {
		case host.OS != needed:
			cause = fmt.Errorf("%s is of %s, and this host runs %s", wish, needed, host.OS)
		case native:
			return Choice{wish, "asked for"}, nil
		}
		return Choice{}, &fault.Error{Reason: fault.Unsupported, Op: "choose an accelerator", Cause: cause, Hint: "use auto or tcg"}
	}
	return Choice{}, &fault.Error{Reason: fault.Unsupported, Op: "choose an accelerator", Cause: fmt.Errorf("there is no %q", wish),
		Hint: "use auto, kvm, hvf or tcg"}
}

func choose(host Host, native bool, guestArch string) Choice {
	switch {
	case !native:
		return Choice{machine.TCG, fmt.Sprintf("an %s guest on an %s host has to be emulated", guestArch, host.Arch)}
	case host.OS == "darwin":
		return Choice{machine.HVF, "native guest on a Mac"}
	case host.OS != "linux":
		return Choice{machine.TCG, "no accelerator known for " + host.OS}
	case host.KVM.Usable:
		return Choice{machine.KVM, host.KVM.Reason}
	}
	return Choice{machine.TCG, host.KVM.Reason}
}

// Available lists the accelerators for native guests, best first.
func Available(host Host) []string {
	var list []string
	if best := choose(host, true, host.Arch); best.Accelerator != machine.TCG {
		list = append(list, best.Accelerator)
	}
	return append(list, machine.TCG)
}

// Look finds out what the host has. probe is the command that runs Probe in a child process. It takes up to a second after a boot, and no time later.
func Look(ctx context.Context, os, arch string, probe []string) (Host, uint64) {
	host := Host{OS: os, Arch: arch}
	if os != "linux" {
		return host, 0
	}
	counter := startCounter()
	memory := openMemory(memoryDir())
	host.KVM = memory.kvm(ctx, probe)
	return host, memory.tsc(counter)
}
