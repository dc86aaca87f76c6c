package engine

import (
	"context"
	"errors"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/supervisor"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Checkpoint saves a running container.
func (e *Engine) Checkpoint(ctx context.Context, ref string, options CheckpointOptions) (Container, error) {
	id, err := e.store.Resolve(ref)
	if err != nil {
		return Container{}, err
	}
	held, err := e.lockSettled(ctx, id)
	if err != nil {
		return Container{}, err
	}
	defer held.Close()
	c, err := e.store.Get(id)
	if err != nil {
		return Container{}, err
	}
	if err := refuse(c, lifecycle.Checkpoint); err != nil {
		return Container{}, err
	}
	s, err := supervisor.Connect(e.store, c.Sandbox, c.ID)
	if err != nil {
		return Container{}, err
	}
	defer s.Close()
	if err := s.Checkpoint(ctx, options.LeaveRunning, options.LoseConnections); err != nil {
		return Container{}, err
	}
	if !options.LeaveRunning {
		// The next verb finds nobody in its way.
		if err := lock.AwaitFree(ctx, e.store.Paths().SandboxLife(c.Sandbox)); err != nil {
			return Container{}, err
		}
	}
	return e.Inspect(ctx, id)
}

// Restore lets a container go on by itself.
func (e *Engine) Restore(ctx context.Context, ref string) (Container, error) {
	return e.begin(ctx, ref, lifecycle.Restore)
}

// AttachRestore lets a container go on with its streams connected before it does.
func (e *Engine) AttachRestore(ctx context.Context, ref string, streams Streams, started func(Container)) (Exit, error) {
	return e.attachBegin(ctx, ref, lifecycle.Restore, streams, started)
}

// RemoveCheckpoint forgets a container's checkpoint, and then removes it.
func (e *Engine) RemoveCheckpoint(ctx context.Context, ref string) error {
	id, err := e.store.Resolve(ref)
	if err != nil {
		return err
	}
	held, err := e.lockSettled(ctx, id)
	if err != nil {
		return err
	}
	defer held.Close()
	c, err := e.store.Update(ctx, id, func(c *store.Container) error {
		if c.Checkpoint == nil {
			return noCheckpoint("remove checkpoint of container", *c)
		}
		c.Checkpoint = nil
		if c.Exit != nil && c.Exit.Reason == lifecycle.ReasonCheckpointed {
			c.Exit.Message = "it was checkpointed, and the checkpoint was removed"
		}
		return nil
	})
	if err != nil {
		return err
	}
	return e.store.RemoveCheckpoints(c.Sandbox, "")
}

func noCheckpoint(op string, c store.Container) error {
	return &fault.Error{Reason: fault.FailedPrecondition, Op: op, Subject: c.Name, Cause: errors.New("it has no checkpoint")}
}

// checkpointAllows refuses a start that would make a checkpoint worthless, and a restore without one.
func checkpointAllows(c store.Container, how lifecycle.Event) error {
	switch {
	case c.State.Active():
		return nil // which is refused, and for a better reason
	case how == lifecycle.Restore && c.Checkpoint == nil:
		return noCheckpoint("restore container", c)
	case how == lifecycle.Start && c.Checkpoint != nil && !c.Checkpoint.Layer:
		return &fault.Error{Reason: fault.FailedPrecondition, Op: "start container", Subject: c.Name, Cause: errors.New("it has a checkpoint, which a start would make worthless"),
			Hint: "vzctl restore " + c.Name + " lets it go on; or first vzctl checkpoint --remove " + c.Name}
	}
	return nil
}
