package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/vmtest/port"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// alike returns a spec whose VM can be forked from one that stands by for the others.
func alike(t *testing.T, id, cache, text string, size int64) hypervisor.Spec {
	t.Helper()
	spec := cached(t, id, cache, text, size)
	spec.Options = nil
	for i, serial := range []string{"base", "layer"} {
		spec.Disks[i].Serial = serial
	}
	return spec
}

// standing returns a manager and a directory in which a VM stands by, and the process that holds it.
func standing(t *testing.T) (m *Manager, cache string, holder int) {
	t.Helper()
	m, cache = newManager(t), t.TempDir()
	for _, id := range []string{"1", "2"} { // the first makes the template, the second has one stand by
		if vm := boot(t, m, alike(t, id, cache, "x", 1<<20)); isCopy(m, id) || !vm.Cloned {
			t.Fatalf("VM %s: copy %v, cloned %v", id, isCopy(m, id), vm.Cloned)
		}
		if err := m.Delete(within(t, 20*time.Second), "", id); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := standbyOf(cache).Clear(); err != nil {
			t.Error(err)
		}
	})
	deadline := time.Now().Add(bootDeadline)
	for {
		sockets, err := filepath.Glob(filepath.Join(cache, "standby", "*", "socket"))
		if err != nil {
			t.Fatal(err)
		}
		if len(sockets) == 1 {
			break
		}
		if time.Now().After(deadline) {
			failure, _ := os.ReadFile(filepath.Join(cache, "standby", "failure.log"))
			t.Fatalf("no VM stands by: %s", failure)
		}
		time.Sleep(20 * time.Millisecond) // nobody tells when another process listens
	}
	slot, err := os.Stat(filepath.Join(cache, "standby", "slot0"))
	if err != nil {
		t.Fatal(err)
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range processes {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !strings.Contains(string(line), HoldArgument) {
			continue
		}
		if info, err := os.Stat(filepath.Join("/proc", e.Name(), "fd", "3")); err == nil && os.SameFile(info, slot) {
			if _, err := fmt.Sscan(e.Name(), &holder); err != nil {
				t.Fatal(err)
			}
		}
	}
	if holder == 0 {
		t.Fatal("nobody holds the VM")
	}
	return m, cache, holder
}

func isCopy(m *Manager, id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.vms[id]
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.process != nil && v.process.copy != nil
}

func TestVMsAreForkedFromOneThatStandsBy(t *testing.T) {
	m, cache, holder := standing(t)
	first := boot(t, m, alike(t, "a", cache, "aaaa", 1<<20))
	spec := alike(t, "b", cache, "bbbb", 3<<20)
	second := boot(t, m, spec)
	if !isCopy(m, "a") || !isCopy(m, "b") || !first.Cloned || !second.Cloned {
		t.Fatal("they are no copies")
	}
	t.Run("each has its own disks and console", func(t *testing.T) {
		for text, vm := range map[string]hypervisor.VM{"aaaa": first, "bbbb": second} {
			content := sha256.Sum256(bytes.Repeat([]byte(text), 1024))
			if got := tell(t, vm, "disk base"); got != fmt.Sprintf("ro=1 %x", content) {
				t.Errorf("the read-only disk of %s is %s", vm.ID, got)
			}
			if got := tell(t, vm, "disk layer"); got != fmt.Sprintf("ro=0 %x", content) {
				t.Errorf("the writable disk of %s is %s", vm.ID, got)
			}
		}
		if got := tell(t, second, "size vdb"); got != "6144 <nil>" {
			t.Errorf("the writable disk of 3 MiB has %s sectors", got)
		}
		if got := tell(t, second, "write layer flushed"); got != "written" {
			t.Error(got)
		}
		layer, err := os.ReadFile(spec.Disks[1].File.Path)
		if err != nil || !strings.HasPrefix(string(layer), "flushed") {
			t.Errorf("the disk's file begins with %.10q, %v", layer, err)
		}
		console, err := os.ReadFile(spec.ConsolePath)
		if err != nil || !strings.Contains(string(console), port.FirstLine) {
			t.Errorf("the console does not tell of the boot: %q, %v", console, err)
		}
	})
	t.Run("a process list has their ids", func(t *testing.T) {
		for _, vm := range []hypervisor.VM{first, second} {
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", vm.PID))
			if err != nil || !strings.Contains(string(line), "-name\x00"+vm.ID+"\x00") {
				t.Errorf("%s is called %.100q, %v", vm.ID, line, err)
			}
		}
	})
	t.Run("their emulated CPUs give way to others", func(t *testing.T) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", second.PID))
		if err != nil || len(threads) < 2 {
			t.Fatalf("QEMU has the threads %v, %v", threads, err)
		}
		for _, path := range threads {
			var id int
			if _, err := fmt.Sscan(filepath.Base(path), &id); err != nil {
				t.Fatal(err)
			}
			if attr, err := unix.SchedGetAttr(id, 0); err != nil || attr.Policy != unix.SCHED_BATCH {
				t.Errorf("thread %d is scheduled by %+v, %v", id, attr, err)
			}
		}
	})
	t.Run("the machine's random numbers are each one's own", func(t *testing.T) {
		one, other := tell(t, first, "random"), tell(t, second, "random")
		if len(one) != 512 || one[256:] == other[256:] { // what the kernel had asked for before is the same; see vminitd's containers

			t.Errorf("one has %s, another %s", one, other)
		}
	})
	t.Run("memory given back is the host's again", func(t *testing.T) {
		if got := tell(t, second, "churn"); got != "churned" {
			t.Fatal(got)
		}
		squeeze(t, m, second)
		if got := tell(t, first, "size vdb"); got != "2048 <nil>" {
			t.Errorf("the other says %s", got)
		}
	})
	t.Run("a disk that another has is refused", func(t *testing.T) {
		thief := alike(t, "c", cache, "cccc", 1<<20)
		thief.Disks[1].File.Path = spec.Disks[1].File.Path
		if _, err := m.Create(context.Background(), "test", thief); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Start(within(t, bootDeadline), "c"); err == nil {
			t.Error("two VMs write one disk")
		}
	})
	t.Run("it can be paused, saved and restored", func(t *testing.T) {
		if err := m.Pause(within(t, bootDeadline), "b"); err != nil {
			t.Fatal(err)
		}
		if err := m.Resume(within(t, bootDeadline), "b"); err != nil {
			t.Fatal(err)
		}
		dir := shortDir(t)
		if _, err := m.Snapshot(within(t, bootDeadline), "", "b", dir, nil); err != nil {
			t.Fatal(err)
		}
		if err := m.Delete(within(t, bootDeadline), "", "b"); err != nil {
			t.Fatal(err)
		}
		vm, err := m.Restore(within(t, bootDeadline), "", dir, spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Resume(within(t, bootDeadline), "b"); err != nil {
			t.Fatal(err)
		}
		if got := tell(t, vm, "size vdb"); got != "6144 <nil>" {
			t.Errorf("it says %s", got)
		}
	})
	t.Run("one whose guest cannot be told of an image is copied for it all the same", func(t *testing.T) {
		image := alike(t, "i", cache, "iiii", 1<<20).Disks[0]
		image.Lasting, image.FileSystem, image.Reads = true, "ext4", []string{"/bin/true"}
		forked := func(id string) {
			spec := alike(t, id, cache, id, 1<<20)
			spec.Disks[0] = image
			vm := boot(t, m, spec)
			if content := sha256.Sum256(bytes.Repeat([]byte("iiii"), 1024)); !isCopy(m, id) || tell(t, vm, "disk base") != fmt.Sprintf("ro=1 %x", content) {
				t.Errorf("%s: copy %v, its read-only disk is %s", id, isCopy(m, id), tell(t, vm, "disk base"))
			}
			if err := m.Delete(within(t, bootDeadline), "", id); err != nil {
				t.Fatal(err)
			}
		}
		forked("i1")
		forked("i2")
		said := filepath.Join(cache, "standby", "priming.log")
		for deadline := time.Now().Add(bootDeadline); ; time.Sleep(20 * time.Millisecond) { // nobody tells
			if _, err := os.Stat(said); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("nobody tried to tell it")
			}
		}
		forked("i3")
		if left, err := filepath.Glob(filepath.Join(cache, "standby", "priming-*")); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
	t.Run("how one has ended is told", func(t *testing.T) {
		boot(t, m, alike(t, "d", cache, "dddd", 1<<20))
		vm, err := m.Get(context.Background(), "d")
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(int(vm.PID), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		vm, err = m.Stop(within(t, bootDeadline), "d", hypervisor.AwaitGuest)
		if err != nil || vm.Exit == nil || vm.Exit.Reason != hypervisor.Crashed || !strings.Contains(vm.Exit.Message, "killed") {
			t.Errorf("it has ended with %+v, %v", vm.Exit, err)
		}
	})
	t.Run("copies outlive their holder", func(t *testing.T) {
		if err := syscall.Kill(holder, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if got := tell(t, first, "size vdb"); got != "2048 <nil>" {
			t.Errorf("it says %s", got)
		}
		if vm := boot(t, m, alike(t, "e", cache, "eeee", 1<<20)); isCopy(m, "e") || !vm.Cloned {
			t.Errorf("without a holder: copy %v, cloned %v", isCopy(m, "e"), vm.Cloned)
		}
		vm, err := m.Stop(within(t, bootDeadline), "a", hypervisor.Kill)
		if err != nil || vm.State != hypervisor.Stopped {
			t.Errorf("it is %s, %v", vm.State, err)
		}
	})
}

func TestAHolderEndsWithItsDirectory(t *testing.T) {
	m, cache, holder := standing(t)
	vm := boot(t, m, alike(t, "a", cache, "a", 1<<20))
	if err := standbyOf(cache).Clear(); err != nil {
		t.Fatal(err)
	}
	if got := tell(t, vm, "size vdb"); got != "2048 <nil>" {
		t.Errorf("the copy says %s", got)
	}
	if err := m.Delete(within(t, bootDeadline), "", "a"); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(holder, 0)
	if err != nil {
		return // it was faster
	}
	defer func() { _ = unix.Close(fd) }()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(bootDeadline.Milliseconds())); err != nil || n != 1 {
		t.Errorf("the holder does not end: %d, %v", n, err)
	}
}

func TestWhatIsForked(t *testing.T) {
	host := machine.Host{OS: "linux", Accelerator: machine.TCG}
	base := func() hypervisor.Spec {
		return hypervisor.Spec{Arch: "amd64", CacheDir: "/cache", Options: map[string]string{}}
	}
	for name, c := range map[string]struct {
		change func(*hypervisor.Spec, *machine.Host)
		want   bool
	}{
		"an emulated VM":   {func(*hypervisor.Spec, *machine.Host) {}, true},
		"one with KVM":     {func(_ *hypervisor.Spec, h *machine.Host) { h.Accelerator = machine.KVM }, false},
		"one with a share": {func(s *hypervisor.Spec, _ *machine.Host) { s.Shares = make([]hypervisor.Share, 1) }, true},
		"one with virtio-fs": {func(s *hypervisor.Spec, _ *machine.Host) {
			s.Shares = []hypervisor.Share{{Type: hypervisor.ShareVirtioFS}}
		}, false},
		"one without templates": {func(s *hypervisor.Spec, _ *machine.Host) { s.Options[machine.OptionTemplates] = "off" }, false},
		"if none may stand by":  {func(s *hypervisor.Spec, _ *machine.Host) { s.Options[machine.OptionStandby] = "off" }, false},
		"another architecture":  {func(s *hypervisor.Spec, _ *machine.Host) { s.Arch = "arm64" }, false},
	} {
		spec, host := base(), host
		c.change(&spec, &host)
		if got := canFork(spec, host); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
