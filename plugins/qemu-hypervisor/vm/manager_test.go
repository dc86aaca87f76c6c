package vm

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/accel"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// unbooted returns a hypervisor and a spec it accepts on a machine with neither QEMU nor kernel: no test that uses them starts a VM.
func unbooted(t *testing.T) (*Manager, hypervisor.Spec) {
	t.Helper()
	bin := t.TempDir()
	for _, name := range []string{"qemu-system-x86_64", "qemu-system-aarch64"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\necho 'qemu: no such machine' >&2\nexit 1\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	kernel := filepath.Join(t.TempDir(), "Image")
	if err := os.WriteFile(kernel, append(make([]byte, 56), "ARM\x64 and so on"...), 0o600); err != nil {
		t.Fatal(err)
	}
	m := New(accel.Host{OS: "linux", Arch: "amd64"}, 0, hclog.NewNullLogger())
	t.Cleanup(func() {
		if err := m.Shutdown(within(t, 10*time.Second)); err != nil {
			t.Error(err)
		}
	})
	return m, hypervisor.Spec{
		ID: "a", Arch: "arm64", CPUs: 1, MemoryBytes: 128 << 20, RuntimeDir: shortDir(t),
		Kernel: hypervisor.Kernel{Path: kernel, Format: "raw"},
	}
}

func TestCreateIsIdempotentByRequest(t *testing.T) {
	m, spec := unbooted(t)
	first, err := m.Create(t.Context(), "one", spec)
	if err != nil || first.State != hypervisor.Created || first.Accelerator != "tcg" {
		t.Fatalf("created %+v, %v", first, err)
	}
	if conn, err := net.Dial("unix", first.VsockPath); err != nil {
		t.Errorf("a created VM cannot be connected to: %v", err)
	} else {
		_ = conn.Close()
	}
	if again, err := m.Create(t.Context(), "one", spec); err != nil || again != first {
		t.Errorf("the same request again gave %+v, %v", again, err)
	}
	if _, err := m.Create(t.Context(), "two", spec); !errors.Is(err, fault.AlreadyExists) {
		t.Errorf("another request for the id gave %v", err)
	}
	spec.CPUs = 2
	if _, err := m.Create(t.Context(), "one", spec); !errors.Is(err, fault.Invalid) {
		t.Errorf("the same request with another spec gave %v", err)
	}
}

func TestVMThatHasNotRun(t *testing.T) {
	m, spec := unbooted(t)
	if _, err := m.Create(t.Context(), "one", spec); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []hypervisor.StopMode{hypervisor.Kill, hypervisor.AwaitGuest} {
		if vm, err := m.Stop(t.Context(), "a", mode); err != nil || vm.State != hypervisor.Created {
			t.Errorf("stop (%s) gave %+v, %v", mode, vm, err)
		}
	}
	if err := m.Pause(t.Context(), "a"); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("pause gave %v", err)
	}
	var states []hypervisor.State
	watched := make(chan error, 1)
	seen := make(chan struct{}, 10)
	go func() {
		watched <- m.Watch(t.Context(), "a", func(vm hypervisor.VM) {
			states = append(states, vm.State)
			seen <- struct{}{}
		})
	}()
	<-seen
	for range 2 {
		if err := m.Delete(within(t, 10*time.Second), "d", "a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-watched; err != nil || !slices.Equal(states, []hypervisor.State{hypervisor.Created}) {
		t.Errorf("watched %v, %v", states, err)
	}
	if left, _ := os.ReadDir(spec.RuntimeDir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := m.Get(t.Context(), "a"); !errors.Is(err, fault.NotFound) {
		t.Errorf("get gave %v", err)
	}
}

func TestQEMUThatDoesNotStartSaysItsLastWords(t *testing.T) {
	m, spec := unbooted(t)
	if _, err := m.Create(t.Context(), "one", spec); err != nil {
		t.Fatal(err)
	}
	_, err := m.Start(within(t, 10*time.Second), "a")
	if err == nil || !strings.Contains(err.Error(), "qemu: no such machine") {
		t.Errorf("start gave %v", err)
	}
	if vm, _ := m.Get(t.Context(), "a"); vm.State != hypervisor.Created {
		t.Errorf("the VM is %s", vm.State)
	}
}

func TestCreateLooksAtFilesFirst(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, s *hypervisor.Spec)
		reason fault.Reason
		says   string
	}{
		"no kernel":      {func(_ *testing.T, s *hypervisor.Spec) { s.Kernel.Path = "/no/kernel" }, fault.NotFound, "use kernel \"/no/kernel\": no such file"},
		"kernel is none": {func(_ *testing.T, s *hypervisor.Spec) { s.Kernel.Path = os.Args[0] }, fault.Invalid, "not a kernel"},
		"ELF file is no kernel": {func(_ *testing.T, s *hypervisor.Spec) {
			s.Arch, s.Kernel.Format, s.Kernel.Path = "amd64", "elf-pvh", "/bin/true"
		}, fault.Invalid, "CONFIG_PVH"},
		"kernel is a directory":    {func(_ *testing.T, s *hypervisor.Spec) { s.Kernel.Path = "/tmp" }, fault.Invalid, "not a regular file"},
		"no initrd":                {func(_ *testing.T, s *hypervisor.Spec) { s.InitrdPath = "/no/initrd" }, fault.NotFound, "initrd"},
		"disk is a device":         {func(_ *testing.T, s *hypervisor.Spec) { s.Disks = disk("/dev/null") }, fault.Invalid, "not a regular file"},
		"no runtime directory":     {func(_ *testing.T, s *hypervisor.Spec) { s.RuntimeDir = "/no/dir" }, fault.NotFound, "runtime directory"},
		"runtime directory open":   {func(t *testing.T, s *hypervisor.Spec) { chmod(t, s.RuntimeDir, 0o755) }, fault.Invalid, "700"},
		"file in a socket's place": {func(t *testing.T, s *hypervisor.Spec) { touch(t, filepath.Join(s.RuntimeDir, "vsock")) }, fault.Invalid, "in the way"},
	} {
		t.Run(name, func(t *testing.T) {
			m, spec := unbooted(t)
			c.change(t, &spec)
			_, err := m.Create(t.Context(), "one", spec)
			if !errors.Is(err, c.reason) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("create gave %v; want %v, and %q in it", err, c.reason, c.says)
			}
		})
	}
}

func TestMissingQEMUSaysHowToInstallIt(t *testing.T) {
	m, spec := unbooted(t)
	t.Setenv("PATH", t.TempDir())
	_, err := m.Create(t.Context(), "one", spec)
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "qemu-system-aarch64 not found; install it with: apt-get install qemu-system-arm") {
		t.Errorf("create gave %v", err)
	}
}

func disk(path string) []hypervisor.Disk {
	return []hypervisor.Disk{{Serial: "layer", File: &hypervisor.FileBackend{Path: path, Format: "raw"}}}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func touch(t *testing.T, path string) {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
}

func TestReasonOfTheEnd(t *testing.T) {
	panicLines := []string{"hello", "[    1.0] Kernel panic - not syncing: VFS: no root", "more"}
	for name, c := range map[string]struct {
		ending ending
		reason hypervisor.ExitReason
		says   string
	}{
		"guest resets":                   {ending{shutdown: "guest-reset"}, hypervisor.GuestShutdown, "powered off"},
		"guest powers off":               {ending{shutdown: "guest-shutdown"}, hypervisor.GuestShutdown, "powered off"},
		"guest resets after a panic":     {ending{shutdown: "guest-reset", console: panicLines}, hypervisor.GuestPanic, "VFS: no root / more"},
		"guest is off before the kill":   {ending{shutdown: "guest-reset", requested: true}, hypervisor.GuestShutdown, "powered off"},
		"stopped by request":             {ending{requested: true, console: panicLines}, hypervisor.ByRequest, "stopped"},
		"QEMU ends with words":           {ending{stderr: []string{"out of memory"}}, hypervisor.Crashed, "out of memory"},
		"QEMU was killed for another":    {ending{lost: "/data is not shared any more"}, hypervisor.Crashed, "/data is not"},
		"it was stopped before":          {ending{lost: "/data is not shared any more", requested: true}, hypervisor.ByRequest, "stopped"},
		"a signal to QEMU is no guest's": {ending{shutdown: "host-signal"}, hypervisor.Crashed, "unexpectedly"},
	} {
		t.Run(name, func(t *testing.T) {
			exit := classify(c.ending, time.Now())
			if exit.Reason != c.reason || !strings.Contains(exit.Message, c.says) {
				t.Errorf("exit %+v", exit)
			}
		})
	}
}

func TestConsoleIsBoundedAndKeepsTheLastWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	file, err := openConsole(path)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	c := newConsole(file, ours)
	block := []byte(strings.Repeat("all work and no play\n", 5000))
	for written := 0; written < maxConsole+1<<20; written += len(block) {
		if _, err := theirs.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = theirs.Write([]byte("\x1b[31mlast\x07 words\n"))
	_ = theirs.Close()
	<-c.done
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxConsole+1024 || info.Mode().Perm() != 0o600 {
		t.Errorf("the log is %d bytes of mode %v, %v", info.Size(), info.Mode(), err)
	}
	if lines := c.tail.lines(1); len(lines) != 1 || lines[0] != "[31mlast words" {
		t.Errorf("last words %q", lines)
	}
}

func TestConsoleFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "target"), filepath.Join(dir, "console")); err != nil {
		t.Fatal(err)
	}
	if _, err := openConsole(filepath.Join(dir, "console")); err == nil {
		t.Error("opened")
	}
}
