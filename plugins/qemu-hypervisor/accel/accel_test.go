package accel

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
		note    string
		refused bool
	}{
		"auto takes a KVM that is fast":                 {Host{"linux", "amd64", fast}, "auto", "amd64", machine.KVM, "fast", false},
		"auto does not take a KVM that is slow":         {Host{"linux", "amd64", slow}, "auto", "amd64", machine.TCG, "too slow", false},
		"nothing said means auto":                       {Host{"linux", "amd64", fast}, "", "amd64", machine.KVM, "fast", false},
		"a foreign guest is emulated":                   {Host{"linux", "amd64", fast}, "auto", "arm64", machine.TCG, "arm64", false},
		"auto on a Mac takes HVF":                       {Host{"darwin", "arm64", Verdict{}}, "auto", "arm64", machine.HVF, "Mac", false},
		"a slow KVM is taken by who asks for it":        {Host{"linux", "amd64", slow}, "kvm", "amd64", machine.KVM, "asked", false},
		"emulation is taken by who asks for it":         {Host{"linux", "amd64", fast}, "tcg", "amd64", machine.TCG, "asked", false},
		"KVM for a foreign guest is refused":            {Host{"linux", "amd64", fast}, "kvm", "arm64", "", "", true},
		"KVM on a Mac is refused":                       {Host{"darwin", "arm64", Verdict{}}, "kvm", "arm64", "", "", true},
		"HVF on Linux is refused":                       {Host{"linux", "amd64", fast}, "hvf", "amd64", "", "", true},
		"an accelerator nobody has heard of is refused": {Host{"linux", "amd64", fast}, "xen", "amd64", "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Choose(c.host, c.wish, c.guest)
			if c.refused != errors.Is(err, fault.Unsupported) {
				t.Fatalf("error %v", err)
			}
			if got.Accelerator != c.want || !strings.Contains(got.Note, c.note) {
				t.Errorf("chose %+v", got)
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
