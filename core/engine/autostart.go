package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/restart"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/supervisor"
)

// atOnce is how many containers are started side by side at boot.
const atOnce = 4

// Autostart starts the containers whose restart policies say that they run after the host's boot, and calls each with the name of one that it has started, or could
// not. It returns an error if there was one of the latter.
func (e *Engine) Autostart(ctx context.Context, each func(name string, err error)) error {
	return e.forEach(ctx, startsAtBoot, each, func(ctx context.Context, c store.Container) error {
		_, err := e.Start(ctx, c.ID)
		return err
	})
}

// startsAtBoot says whether a container that does not run is to be started after the host's boot.
func startsAtBoot(c store.Container) bool {
	if c.State.Active() || c.Run == nil || c.Exit != nil && c.Exit.Reason == lifecycle.ReasonCheckpointed {
		return false
	}
	policy, err := restart.Parse(c.Restart.Policy)
	if err != nil {
		return false
	}
	end := restart.End{Unwanted: c.Desired == store.DesiredStopped, Restarts: c.Restart.Count}
	if c.Exit != nil {
		end.Code = c.Exit.Code
	}
	return policy.AtBoot(end)
}

// Autostop stops all containers that run, for the end of the host: their restart policies do not take it for their users' wish.
func (e *Engine) Autostop(ctx context.Context, each func(name string, err error)) error {
	return e.forEach(ctx, func(c store.Container) bool { return c.State.Active() }, each, e.suspend)
}

// suspend returns when a container is not running.
func (e *Engine) suspend(ctx context.Context, c store.Container) error {
	number, timeout, err := gentleStop(c, StopOptions{})
	if err != nil {
		return err
	}
	s, err := supervisor.Connect(e.store, c.Sandbox, c.ID)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Suspend(ctx, number, timeout); err != nil {
		// A supervisor that is gone has stopped the container, too.
		if alive, aliveErr := e.store.Alive(c.Sandbox); aliveErr != nil || alive {
			return errors.Join(err, aliveErr)
		}
	}
	return lock.AwaitFree(ctx, e.store.Paths().SandboxLife(c.Sandbox))
}

// forEach does something with each container that is wanted, a few at a time.
func (e *Engine) forEach(ctx context.Context, wanted func(store.Container) bool, each func(name string, err error),
	do func(context.Context, store.Container) error) error {
	entries, err := e.store.List()
	if err != nil {
		return err
	}
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		failed  int
	)
	turn := make(chan struct{}, atOnce)
	for _, entry := range entries {
		if entry.Err != nil || !wanted(entry.Container) {
			continue
		}
		turn <- struct{}{}
		running.Go(func() {
			err := do(ctx, entry.Container)
			<-turn
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
			}
			each(entry.Container.Name, err)
		})
	}
	running.Wait()
	if failed > 0 {
		return fmt.Errorf("containers that failed: %d", failed)
	}
	return nil
}
