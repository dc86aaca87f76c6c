package engine

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/core/restart"
	"github.com/vzctl/vzctl/core/signals"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

// checkRestart brings the restart policy of a request into the form that records have.
func checkRestart(r *CreateRequest) error {
	policy, err := restartPolicy(r.Restart, r.AutoRemove)
	r.Restart = policy
	return err
}

// restartPolicy returns a restart policy as records have it.
func restartPolicy(text string, autoRemove bool) (string, error) {
	policy, err := restart.Parse(text)
	if err != nil {
		return "", err
	}
	if policy.String() != "" && autoRemove {
		return "", &fault.Error{Reason: fault.Invalid, Op: "use restart policy", Subject: policy.String(),
			Cause: errors.New("a container that is removed at its end cannot be started again"), Hint: "give --rm or --restart, not both"}
	}
	return policy.String(), nil
}

// endsByUser says whether a signal is how a user ends a container. Others, like one to reload a configuration, leave it to its restart policy what follows
// when the process ends of it.
func endsByUser(c store.Container, signal int) bool {
	switch unix.Signal(signal) {
	case unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT:
		return true
	}
	stop, err := signals.Number(c.Process.StopSignal)
	return err == nil && stop == signal
}

// unwant notes that the user does not want a container that has ended to be started at the host's boot.
func (e *Engine) unwant(ctx context.Context, c store.Container) error {
	if c.Restart.Policy == "" || c.Desired == store.DesiredStopped {
		return nil
	}
	_, err := e.store.Update(ctx, c.ID, func(c *store.Container) error {
		if !c.State.Active() {
			c.Desired = store.DesiredStopped
		}
		return nil
	})
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
