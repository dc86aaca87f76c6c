package engine

import (
	"context"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/supervisor"
)

// Restart stops a container that runs, and starts it.
func (e *Engine) Restart(ctx context.Context, ref string, options StopOptions) error {
	c, err := e.store.Find(ref)
	if err != nil {
		return err
	}
	signal, timeout, err := gentleStop(c, options)
	if err != nil {
		return err
	}
	if c.State.Active() {
		err := e.stopBy(ctx, c.ID, func(ctx context.Context, s *supervisor.Client) error { return s.StopToRestart(ctx, signal, timeout) })
		if err != nil {
			return err
		}
	}
	if _, err := e.begin(ctx, c.ID, lifecycle.Start); err != nil {
		return err
	}
	e.tell(ctx, aboutContainer("restart", c))
	return nil
}
