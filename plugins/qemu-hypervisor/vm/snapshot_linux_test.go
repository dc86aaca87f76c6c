package vm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/progress"
)

// restored is a VM that has gone on in another hypervisor, as after the end of the first.
func restored(t *testing.T, dir string, spec hypervisor.Spec) (*Manager, hypervisor.VM) {
	t.Helper()
	m := newManager(t)
	begun := time.Now()
	vm, err := m.Restore(within(t, bootDeadline), "restore", dir, spec)
	if err != nil {
		t.Fatal(err)
	}
	if vm.State != hypervisor.Paused {
		t.Errorf("a restored VM is %s", vm.State)
	}
	if err := m.Resume(within(t, bootDeadline), spec.ID); err != nil {
		t.Fatal(err)
	}
	if got := tell(t, vm, "recall"); !strings.HasPrefix(got, "before ") {
		t.Errorf("it remembers %q", got)
	}
	t.Logf("restored within %v", time.Since(begun))
	return m, vm
}

func TestVMGoesOnWhereItsSnapshotWasTaken(t *testing.T) {
	for name, change := range map[string]func(*hypervisor.Spec){
		"booted":    func(s *hypervisor.Spec) { s.CacheDir = "" },
		"cloned":    func(*hypervisor.Spec) {},
		"four CPUs": func(s *hypervisor.Spec) { s.CPUs = 4 },
	} {
		t.Run(name, func(t *testing.T) {
			first := newManager(t)
			spec := cached(t, "a", t.TempDir(), "aaaa", 1<<20)
			change(&spec)
			vm := boot(t, first, spec)
			dir := shortDir(t)
			for _, text := range []string{"remember before", "write layer-a flushed"} {
				tell(t, vm, "%s", text)
			}
			begun := time.Now()
			size, err := first.Snapshot(within(t, bootDeadline), "snapshot", "a", dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d MiB saved within %v", size>>20, time.Since(begun))
			if vm, _ := first.Get(t.Context(), "a"); vm.State != hypervisor.Paused {
				t.Errorf("a saved VM is %s", vm.State)
			}
			if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
				if info, _ := entry.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s is open to others", path)
				}
				return err
			}); err != nil {
				t.Error(err)
			}
			if err := first.Delete(within(t, bootDeadline), "", "a"); err != nil {
				t.Fatal(err)
			}
			second, vm := restored(t, dir, spec)
			if got := tell(t, vm, "write layer-a again"); got != "written" {
				t.Error(got)
			}
			tell(t, vm, "remember before again")
			// What was restored can be saved, and go on, in the same way.
			again := shortDir(t)
			if _, err := second.Snapshot(within(t, bootDeadline), "snapshot", "a", again, nil); err != nil {
				t.Fatal(err)
			}
			if err := second.Delete(within(t, bootDeadline), "", "a"); err != nil {
				t.Fatal(err)
			}
			restored(t, again, spec)
		})
	}
}

func TestVMGoesOnAfterItsSnapshotAndAfterOneThatFails(t *testing.T) {
	m := newManager(t)
	vm := boot(t, m, cached(t, "a", t.TempDir(), "aaaa", 1<<20))
	tell(t, vm, "remember before")
	taken, open := filepath.Join(shortDir(t), "none"), shortDir(t)
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{taken, open} {
		if _, err := m.Snapshot(within(t, bootDeadline), "s", "a", dir, nil); err == nil {
			t.Errorf("a snapshot into %s", dir)
		}
		if got := tell(t, vm, "recall"); got != "before 1" {
			t.Errorf("it remembers %q", got)
		}
	}
	dir := shortDir(t)
	ctx, cancel := context.WithCancel(within(t, bootDeadline))
	if _, err := m.Snapshot(ctx, "s", "a", dir, func(progress.Update) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("a snapshot that was given up: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	if got := tell(t, vm, "recall"); got != "before 1" {
		t.Errorf("it remembers %q", got)
	}
	if _, err := m.Snapshot(within(t, bootDeadline), "s", "a", dir, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Snapshot(within(t, bootDeadline), "s", "a", shortDir(t), nil); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("a snapshot of a paused VM: %v", err)
	}
	if err := m.Resume(within(t, bootDeadline), "a"); err != nil {
		t.Fatal(err)
	}
	if got := tell(t, vm, "recall"); got != "before 1" {
		t.Errorf("it remembers %q", got)
	}
}
