package vm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vmtest/port"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

func TestVMBootsPowersOffAndBootsAgain(t *testing.T) {
	m := newManager(t)
	spec := specOf(t, "a")
	begun := time.Now()
	vm := boot(t, m, spec)
	t.Logf("create to the guest's first answer: %v, by %s", time.Since(begun), vm.Accelerator)
	if vm.State != hypervisor.Running || vm.PID == 0 {
		t.Fatalf("started VM is %+v", vm)
	}
	if _, err := m.Start(within(t, time.Second), "a"); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("second start gave %v", err)
	}
	control := dial(t, vm, port.Control)
	begun = time.Now()
	_, _ = fmt.Fprintln(control, "poweroff")
	stopped, err := m.Stop(within(t, bootDeadline), "a", hypervisor.AwaitGuest)
	t.Logf("power-off to stopped: %v", time.Since(begun))
	if err != nil || stopped.Exit == nil || stopped.Exit.Reason != hypervisor.GuestShutdown {
		t.Fatalf("power-off gave %+v, %v", stopped.Exit, err)
	}
	if _, err := tryDial(vm.VsockPath, port.Echo); err == nil {
		t.Error("a stopped VM can be connected to")
	}
	vm, err = m.Start(within(t, bootDeadline), "a")
	if err != nil {
		t.Fatal(err)
	}
	_ = dial(t, vm, port.Echo).Close()
	console, err := os.ReadFile(spec.ConsolePath)
	if err != nil || strings.Count(string(console), port.FirstLine) != 2 {
		t.Errorf("two boots left on the console, %v:\n%s", err, console)
	}
	begun = time.Now()
	if vm, err = m.Stop(within(t, bootDeadline), "a", hypervisor.Kill); err != nil || vm.Exit.Reason != hypervisor.ByRequest {
		t.Errorf("kill gave %+v, %v", vm, err)
	}
	t.Logf("kill to stopped: %v", time.Since(begun))
	if err := m.Delete(within(t, bootDeadline), "d", "a"); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(spec.RuntimeDir); len(left) != 0 {
		t.Errorf("left in the runtime directory: %v", left)
	}
}

func TestVMThatPanicsSaysWhy(t *testing.T) {
	m := newManager(t)
	vm := boot(t, m, specOf(t, "a"))
	_, _ = fmt.Fprintln(dial(t, vm, port.Control), "panic")
	exit := exitOf(t, m, "a")
	if exit.Reason != hypervisor.GuestPanic || !strings.Contains(exit.Message, "Kernel panic - not syncing") {
		t.Errorf("exit %+v", exit)
	}
	t.Log(exit.Message)
}

func TestVMWhoseQEMUIsKilledHasCrashed(t *testing.T) {
	m := newManager(t)
	vm := boot(t, m, specOf(t, "a"))
	if err := syscall.Kill(int(vm.PID), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	exit := exitOf(t, m, "a")
	if exit.Reason != hypervisor.Crashed || !strings.Contains(exit.Message, "killed") {
		t.Errorf("exit %+v", exit)
	}
}

func TestVMWhoseDiskIsTakenDoesNotStartAndSaysSo(t *testing.T) {
	m := newManager(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		spec := specOf(t, id)
		spec.Disks = []hypervisor.Disk{{Serial: "layer", File: &hypervisor.FileBackend{Path: disk, Format: "raw"}}}
		if _, err := m.Create(t.Context(), id, spec); err != nil {
			t.Fatal(err)
		}
		_, err := m.Start(within(t, bootDeadline), id)
		if id == "a" && err != nil {
			t.Fatal(err)
		}
		if id == "b" && (err == nil || !strings.Contains(err.Error(), "lock")) {
			t.Errorf("start of a second VM with one writable disk gave %v", err)
		}
	}
}

func TestVMFindsDisksBySerialAndFlushesThemToTheHost(t *testing.T) {
	m := newManager(t)
	spec := specOf(t, "a")
	dir := t.TempDir()
	base, layer := filepath.Join(dir, "base, with a comma"), filepath.Join(dir, "layer")
	content := []byte(strings.Repeat("base image ", 1<<16))[:512<<10]
	for path, bytes := range map[string][]byte{base: content, layer: make([]byte, 1<<20)} {
		if err := os.WriteFile(path, bytes, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	spec.Disks = []hypervisor.Disk{
		{Serial: "rootfs0", ReadOnly: true, File: &hypervisor.FileBackend{Path: base, Format: "raw"}},
		{Serial: "layer", File: &hypervisor.FileBackend{Path: layer, Format: "raw"}},
	}
	vm := boot(t, m, spec)
	if got, want := tell(t, vm, "disk rootfs0"), fmt.Sprintf("ro=1 %x", sha256.Sum256(content[:4096])); got != want {
		t.Errorf("the guest read %q, want %q", got, want)
	}
	if got := tell(t, vm, "write layer flushed"); got != "written" {
		t.Fatal(got)
	}
	text, err := os.ReadFile(layer)
	if err != nil || !strings.HasPrefix(string(text), "flushed") {
		t.Errorf("the host's file begins with %q, %v", text[:8], err)
	}
	if got := tell(t, vm, "write rootfs0 x"); got == "written" {
		t.Error("a read-only disk was written")
	}
	other := specOf(t, "b")
	other.Disks = spec.Disks[:1]
	vm = boot(t, m, other)
	if got := tell(t, vm, "disk rootfs0"); !strings.HasPrefix(got, "ro=1") {
		t.Errorf("a second VM on the same base: %q", got)
	}
}

func TestVMTakesAsManyDevicesAsAreOffered(t *testing.T) {
	m := newManager(t)
	spec := specOf(t, "a")
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		spec.Disks = append(spec.Disks, hypervisor.Disk{
			Serial: fmt.Sprintf("rootfs%d", i), ReadOnly: true, File: &hypervisor.FileBackend{Path: image, Format: "raw"}})
	}
	spec.NICs = []hypervisor.NIC{{ID: "eth0", MAC: "02:00:00:00:00:07", MTU: 4000, Link: link(spec.RuntimeDir)}}
	vm := boot(t, m, spec)
	if got := tell(t, vm, "disk rootfs19"); !strings.HasPrefix(got, "ro=1") {
		t.Errorf("last disk: %q", got)
	}
	if got := tell(t, vm, "links"); !strings.Contains(got, "eth0 02:00:00:00:00:07 4000") {
		t.Errorf("links: %q", got)
	}
}

func link(dir string) network.Link {
	return network.Link{UnixDatagram: &network.UnixDatagram{VMPath: filepath.Join(dir, "vm0"), NetworkPath: filepath.Join(dir, "net0")}}
}

func TestVMWithSeveralCPUsPausesAndResumes(t *testing.T) {
	m := newManager(t)
	spec := specOf(t, "a")
	spec.CPUs = 2
	vm := boot(t, m, spec)
	conn := dial(t, vm, port.Echo)
	for range 2 {
		if err := m.Pause(within(t, bootDeadline), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if vm, _ := m.Get(t.Context(), "a"); vm.State != hypervisor.Paused {
		t.Errorf("paused VM is %s", vm.State)
	}
	_, _ = conn.Write([]byte("x"))
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a paused VM answered: %v", err)
	}
	for range 2 {
		if err := m.Resume(within(t, bootDeadline), "a"); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(bootDeadline))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Errorf("a resumed VM answered: %v", err)
	}
}

func TestVMTellsTheHostThatItIsReady(t *testing.T) {
	m := newManager(t)
	spec := specOf(t, "a")
	vm, err := m.Create(t.Context(), "r", spec)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", fmt.Sprintf("%s_%d", vm.VsockPath, port.Ready))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	begun := time.Now()
	if _, err := m.Start(within(t, bootDeadline), "a"); err != nil {
		t.Fatal(err)
	}
	t.Logf("start took %v", time.Since(begun))
	_ = listener.(*net.UnixListener).SetDeadline(time.Now().Add(bootDeadline))
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(bootDeadline))
	if said, err := io.ReadAll(conn); err != nil || len(said) != 1 {
		t.Errorf("the guest said %q, %v", said, err)
	}
	t.Logf("ready after %v", time.Since(begun))
}
