package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/accel"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/sdk/fault"
)

func TestMoreMemoryThanTheHostHasIsRefusedUnlessLinuxPromisesAny(t *testing.T) {
	const eight = "MemTotal:        6291456 kB\nMemFree:          100 kB\nSwapTotal:       2097152 kB\n"
	for name, c := range map[string]struct {
		meminfo, overcommit string
		wanted              uint64
		refused             bool
	}{
		"all of it":                           {eight, "0\n", 8 << 30, false},
		"more":                                {eight, "0\n", 8<<30 + 1, true},
		"more, and Linux counts strictly":     {eight, "2\n", 9 << 30, true},
		"more, and Linux promises any amount": {eight, "1\n", 1 << 40, false},
		"a host that does not tell how much it has": {"nothing\n", "0\n", 1 << 40, false},
		"a host that is not Linux":                  {"", "", 1 << 40, false},
	} {
		t.Run(name, func(t *testing.T) {
			proc := t.TempDir()
			if c.overcommit != "" {
				err := errors.Join(os.MkdirAll(filepath.Join(proc, "sys/vm"), 0o700),
					os.WriteFile(filepath.Join(proc, "sys/vm/overcommit_memory"), []byte(c.overcommit), 0o600),
					os.WriteFile(filepath.Join(proc, "meminfo"), []byte(c.meminfo), 0o600))
				if err != nil {
					t.Fatal(err)
				}
			}
			err := checkMemory(proc, c.wanted)
			if c.refused != errors.Is(err, fault.FailedPrecondition) || !c.refused && err != nil {
				t.Errorf("%v", err)
			}
			if c.refused && !strings.Contains(err.Error(), "8192 MiB") {
				t.Errorf("%q does not say what the host has", err)
			}
		})
	}
}

func TestVMWithMoreMemoryThanTheHostHasIsNotCreated(t *testing.T) {
	m, spec := unbooted(t)
	spec.MemoryBytes = 1 << 44
	if err := checkMemory("/proc", spec.MemoryBytes); err == nil {
		t.Skip("this host promises any amount of memory")
	}
	if vm, err := m.Create(t.Context(), "one", spec); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("created %+v, %v", vm, err)
	}
}

// Who asks for an accelerator gets it even if it looks useless, and is then told that it did.
func TestQEMUThatFailsWithAnAcceleratorThatLooksUselessSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		kvm    accel.Verdict
		hinted bool
	}{
		"it looks useless": {accel.Verdict{Reason: "KVM is slow"}, true},
		"it is fast":       {accel.Verdict{Usable: true, Reason: "fast"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m, spec := unbooted(t)
			m.host = accel.Host{OS: "linux", Arch: spec.Arch, KVM: c.kvm}
			spec.Options = map[string]string{machine.OptionAccelerator: machine.KVM}
			if _, err := m.Create(t.Context(), "one", spec); err != nil {
				t.Fatal(err)
			}
			_, err := m.Start(t.Context(), "a")
			said := fmt.Sprint(err)
			if !strings.Contains(said, "no such machine") {
				t.Errorf("%q does not say what QEMU said", said)
			}
			if c.hinted != strings.Contains(said, "KVM is slow") || c.hinted != strings.Contains(said, "use accelerator=auto") {
				t.Errorf("it says %q", said)
			}
		})
	}
}
