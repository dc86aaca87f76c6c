package accel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/sdk/fault"
)

// TestMain lets the test binary be the child that Look starts.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "probe-kvm":
		Probe()
	case len(os.Args) > 1 && os.Args[1] == "probe-hangs":
		select {}
	default:
		os.Exit(m.Run())
	}
}

func TestChoiceOfAccelerator(t *testing.T) {
	fast := Verdict{Usable: true, Reason: "fast"}
	slow := Verdict{Reason: "too slow"}
	for name, c := range map[string]struct {
		host    Host
		wish    string
		guest   string
		want    string
		note    string // of the note, or the refusal
		refused bool
	}{
		"auto takes a KVM that is fast":                 {Host{"linux", "amd64", fast}, "auto", "amd64", machine.KVM, "fast", false},
		"auto does not take a KVM that is slow":         {Host{"linux", "amd64", slow}, "auto", "amd64", machine.TCG, "too slow", false},
		"nothing said means auto":                       {Host{"linux", "amd64", fast}, "", "amd64", machine.KVM, "fast", false},
		"a foreign guest is emulated":                   {Host{"linux", "amd64", fast}, "auto", "arm64", machine.TCG, "arm64", false},
		"auto on a Mac takes HVF":                       {Host{"darwin", "arm64", Verdict{}}, "auto", "arm64", machine.HVF, "Mac", false},
		"a slow KVM is taken by who asks for it":        {Host{"linux", "amd64", slow}, "kvm", "amd64", machine.KVM, "asked", false},
		"emulation is taken by who asks for it":         {Host{"linux", "amd64", fast}, "tcg", "amd64", machine.TCG, "asked", false},
		"KVM for a foreign guest is refused":            {Host{"linux", "amd64", fast}, "kvm", "arm64", "", "no arm64 guests on an amd64 host", true},
		"KVM on a Mac is refused":                       {Host{"darwin", "arm64", Verdict{}}, "kvm", "arm64", "", "kvm is of linux", true},
		"HVF on Linux is refused":                       {Host{"linux", "amd64", fast}, "hvf", "amd64", "", "hvf is of darwin, and this host runs linux", true},
		"HVF for a foreign guest is refused":            {Host{"darwin", "arm64", Verdict{}}, "hvf", "amd64", "", "no amd64 guests on an arm64 host", true},
		"a foreign guest on a Mac is emulated":          {Host{"darwin", "arm64", Verdict{}}, "auto", "amd64", machine.TCG, "emulated", false},
		"auto on an Intel Mac takes HVF":                {Host{"darwin", "amd64", Verdict{}}, "auto", "amd64", machine.HVF, "Mac", false},
		"an accelerator nobody has heard of is refused": {Host{"linux", "amd64", fast}, "xen", "amd64", "", "xen", true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Choose(c.host, c.wish, c.guest)
			if c.refused != errors.Is(err, fault.Unsupported) {
				t.Fatalf("error %v", err)
			}
			if said := fmt.Sprint(got.Note, err); got.Accelerator != c.want || !strings.Contains(said, c.note) {
				t.Errorf("chose %+v, %v", got, err)
			}
		})
	}
}

func TestVerdictIsRememberedForThisBootOnly(t *testing.T) {
	cache := t.TempDir()
	m := openMemory(cache)
	m.KVM = &Verdict{Usable: true, Reason: "remembered"}
	m.save()
	if again := openMemory(cache); again.KVM == nil || again.KVM.Reason != "remembered" {
		t.Fatalf("remembered %+v", again.known)
	}
	m.Boot = "another"
	m.save()
	if again := openMemory(cache); again.KVM != nil {
		t.Errorf("remembered %+v of another boot", again.KVM)
	}
	if err := os.WriteFile(filepath.Join(cache, "accelerator.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again := openMemory(cache); again.KVM != nil {
		t.Errorf("remembered %+v from garbage", again.KVM)
	}
}

func TestProbeThatHangsIsAVerdict(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	verdict, _ := runProbe(ctx, []string{os.Args[0], "probe-hangs"})
	if verdict.Usable || !strings.Contains(verdict.Reason, "did not end") {
		t.Errorf("verdict %+v", verdict)
	}
}

func TestHostIsLookedAt(t *testing.T) {
	host, tsc := Look(context.Background(), "linux", "amd64", []string{os.Args[0], "probe-kvm"})
	if host.KVM.Reason == "" {
		t.Error("no reason given")
	}
	t.Logf("KVM: %+v, cycle counter: %d kHz", host.KVM, tsc)
	begun := time.Now()
	again, tscAgain := Look(context.Background(), "linux", "amd64", []string{"/nonexistent"})
	if again != host || tscAgain != tsc {
		t.Errorf("second look: %+v, %d kHz", again, tscAgain)
	}
	t.Logf("second look took %v", time.Since(begun))
}

func TestAcceleratorsThatAreOffered(t *testing.T) {
	for name, c := range map[string]struct {
		host Host
		want []string
	}{
		"Linux with a fast KVM": {Host{"linux", "amd64", Verdict{Usable: true}}, []string{machine.KVM, machine.TCG}},
		"Linux with a slow KVM": {Host{"linux", "amd64", Verdict{}}, []string{machine.TCG}},
		"a Mac":                 {Host{"darwin", "arm64", Verdict{}}, []string{machine.HVF, machine.TCG}},
		"another system":        {Host{"freebsd", "amd64", Verdict{}}, []string{machine.TCG}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Available(c.host); !slices.Equal(got, c.want) {
				t.Errorf("offered %v", got)
			}
		})
	}
}
