package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/runtimespec"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/supervisor"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Update changes limits. The VM of a container that runs stays as large as it is; that of one that does not, or waits for its next start, will be as large as it must be.
func (e *Engine) Update(ctx context.Context, ref string, request UpdateRequest) error {
	id, err := e.store.Resolve(ref)
	if err != nil {
		return err
	}
	held, err := e.lockSettled(ctx, id)
	if err != nil {
		return err
	}
	defer held.Close()
	c, err := e.store.Get(id)
	if err != nil {
		return err
	}
	if err := refuse(c, lifecycle.Update); err != nil {
		return err
	}
	if c.Checkpoint != nil {
		return &fault.Error{Reason: fault.FailedPrecondition, Op: "update container", Subject: c.Name, Cause: errors.New("it has a checkpoint, whose limits are those of before"),
			Hint: "first vzctl checkpoint --remove " + c.Name}
	}
	b, err := e.store.GetSandbox(c.Sandbox)
	if err != nil {
		return err
	}
	if err := e.checkUpdate(ctx, request.Limits, &c, &b); err != nil {
		return err
	}
	if request.Restart != "" {
		if c.Restart.Policy, err = restartPolicy(request.Restart, c.AutoRemove); err != nil {
			return err
		}
	}
	io, changedIO, err := limitIO(c.Resources.IO, request.IOLimits, c.Mounts)
	if err != nil {
		return err
	}
	c.Resources.IO = io
	return e.update(ctx, request.Limits, changedIO, c, b)
}

// checkUpdate refuses what cannot be, and puts the new sizes into the records.
func (e *Engine) checkUpdate(ctx context.Context, l runtimespec.Limits, c *store.Container, b *store.Sandbox) error {
	if l.MemoryBytes > 0 {
		if err := checkMemory(l.MemoryBytes); err != nil {
			return err
		}
		c.Resources.MemoryBytes = l.MemoryBytes
	}
	if l.CPUs > 0 {
		c.Resources.CPUs = l.CPUs
	}
	if hasVM(*c) {
		if err := fits(*c, *b); err != nil {
			return err
		}
	} else if l.MemoryBytes > 0 || l.CPUs > 0 {
		b.CPUs, b.MemoryBytes = c.Resources.CPUs, vmMemory(c.Resources.MemoryBytes)
		if err := e.matchCapabilities(ctx, c, b, b.Kernel, len(c.Disks)+1); err != nil {
			return err
		}
	}
	if l.CPUSet != "" {
		return runtimespec.CheckCPUSet(l.CPUSet, b.CPUs)
	}
	return nil
}

// hasVM reports whether there is a VM whose limits change with the container's. One that waits for its next start has none, and begins that with what is on record.
func hasVM(c store.Container) bool { return c.State.Active() && c.State != lifecycle.Restarting }

// fits refuses a container that is to be larger than the VM that it runs in.
func fits(c store.Container, b store.Sandbox) error {
	tooLarge := func(cause string, args ...any) error {
		return &fault.Error{Reason: fault.FailedPrecondition, Op: "update container", Subject: c.Name, Cause: fmt.Errorf(cause, args...),
			Hint: "stop it first: its next VM will be larger"}
	}
	const mib = 1 << 20
	if most := containerMemory(b.MemoryBytes); c.Resources.MemoryBytes > most {
		return tooLarge("memory of %d MiB is more than the %d MiB that its VM was started with", c.Resources.MemoryBytes/mib, most/mib)
	}
	if c.Resources.CPUs > b.CPUs {
		return tooLarge("%d CPUs are more than the %d that its VM was started with", c.Resources.CPUs, b.CPUs)
	}
	return nil
}

// update puts limits into force, if the container runs, and on record. io are those of disks that are to change.
func (e *Engine) update(ctx context.Context, l runtimespec.Limits, io []store.IOLimit, c store.Container, b store.Sandbox) error {
	path := e.store.Paths().ContainerSpec(c.ID)
	var spec specs.Spec
	if err := store.ReadJSON(path, &spec); err != nil {
		return err
	}
	if spec.Linux == nil {
		spec.Linux = &specs.Linux{}
	}
	whole, changed, err := l.Change(spec.Linux.Resources)
	if err != nil {
		return err
	}
	spec.Linux.Resources = whole
	if hasVM(c) && (l != (runtimespec.Limits{}) || len(io) > 0) {
		if err := e.updateRunning(ctx, c, changed, io); err != nil {
			return err
		}
	}
	ctx = context.WithoutCancel(ctx) // what is in force must be on record
	if err := store.WriteJSON(path, spec, true); err != nil {
		return err
	}
	_, err = e.store.UpdateSandbox(ctx, b.ID, func(record *store.Sandbox) error {
		record.CPUs, record.MemoryBytes = b.CPUs, b.MemoryBytes
		return nil
	})
	if err != nil {
		return err
	}
	_, err = e.store.Update(ctx, c.ID, func(record *store.Container) error {
		record.Restart.Policy = c.Restart.Policy
		record.Resources = c.Resources
		return nil
	})
	if err == nil {
		e.tell(ctx, aboutContainer("update", c))
	}
	return err
}

func (e *Engine) updateRunning(ctx context.Context, c store.Container, changed *specs.LinuxResources, io []store.IOLimit) error {
	body, err := json.Marshal(changed)
	if err != nil {
		return err
	}
	s, err := supervisor.Connect(e.store, c.Sandbox, c.ID)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Update(ctx, body, supervisor.IOLimits(c.Mounts, io)...)
}
