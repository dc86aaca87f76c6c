package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// guestSnapshot saves a VM, lets it go on, saves it again, and restores it in the place of the first.
func guestSnapshot(ctx context.Context, env *Env) error {
	if info := env.Process.Info(); !info.Offers(hypervisor.CapabilityFeature, hypervisor.FeatureSnapshot) {
		return NotRun{Reason: "the plugin does not offer snapshots"}
	}
	s, vm, err := env.boot(ctx)
	if err != nil {
		return err
	}
	c := hypervisors(env)
	_, nowhere := c.Snapshot(ctx, "s0", "vm", filepath.Join(env.Dir, "nothing"), nil)
	if nowhere == nil {
		return errors.New("a snapshot into a directory that is not there succeeded")
	}
	if err := env.hello(ctx, s, vm); err != nil {
		return fmt.Errorf("after a snapshot that failed: %w", err)
	}
	var dir string
	for i := range 2 {
		if dir, err = env.snapshot(ctx, fmt.Sprintf("snapshot%d", i)); err != nil {
			return err
		}
		if i > 0 {
			break
		}
		if err := c.Resume(ctx, "vm"); err != nil {
			return err
		}
		if err := env.hello(ctx, s, vm); err != nil {
			return fmt.Errorf("after a snapshot: %w", err)
		}
	}
	_, taken := c.Restore(ctx, "restore", dir, s)
	if err := wantReason("restore of a VM that is there", taken, fault.AlreadyExists); err != nil {
		return err
	}
	if err := c.Delete(ctx, "delete", "vm"); err != nil {
		return err
	}
	if vm, err = c.Restore(ctx, "restore", dir, s); err != nil {
		return err
	}
	if vm.State != hypervisor.Paused {
		return fmt.Errorf("a restored VM is %q", vm.State)
	}
	if err := os.RemoveAll(dir); err != nil { // it is not needed any more
		return err
	}
	if err := c.Resume(ctx, "vm"); err != nil {
		return err
	}
	if err := env.hello(ctx, s, vm); err != nil {
		return fmt.Errorf("after a restore: %w", err)
	}
	return env.forget(ctx, s)
}

// snapshot saves the VM, which is paused then, into a new directory.
func (e *Env) snapshot(ctx context.Context, name string) (dir string, err error) {
	if dir, err = e.subdir(name); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return "", err
	}
	c := hypervisors(e)
	size, err := c.Snapshot(ctx, name, "vm", dir, nil)
	if err != nil || size == 0 {
		return "", wrong(err, "a snapshot of %d bytes", size)
	}
	if vm, err := c.Get(ctx, "vm"); err != nil || vm.State != hypervisor.Paused {
		return "", wrong(err, "a saved VM is %q", vm.State)
	}
	return dir, filepath.WalkDir(dir, closedToOthers)
}

// guestSnapshotChanged restores snapshots that were harmed, or are of another VM.
func guestSnapshotChanged(ctx context.Context, env *Env) error {
	if info := env.Process.Info(); !info.Offers(hypervisor.CapabilityFeature, hypervisor.FeatureSnapshot) {
		return NotRun{Reason: "the plugin does not offer snapshots"}
	}
	s, _, err := env.boot(ctx)
	if err != nil {
		return err
	}
	dir, err := env.snapshot(ctx, "snapshot")
	if err != nil {
		return err
	}
	c := hypervisors(env)
	if err := c.Delete(ctx, "delete", "vm"); err != nil {
		return err
	}
	larger := s
	larger.MemoryBytes *= 2
	_, other := c.Restore(ctx, "r1", dir, larger)
	empty, err := env.subdir("empty")
	if err != nil {
		return err
	}
	_, none := c.Restore(ctx, "r2", empty, s)
	if err := filepath.WalkDir(dir, harm); err != nil {
		return err
	}
	_, harmed := c.Restore(ctx, "r3", dir, s)
	if none == nil {
		return errors.New("a restore from nothing succeeded")
	}
	list, err := c.List(ctx)
	if err != nil || len(list) > 0 {
		return wrong(err, "after restores that were refused there are %d VMs", len(list))
	}
	return errors.Join(wantReason("restore with more memory", other, fault.FailedPrecondition), wantReason("restore of what was harmed", harmed, fault.FailedPrecondition),
		env.forget(ctx, s))
}
