package sandbox

import (
	"context"
	"errors"
	"time"

	"github.com/vzctl/vzctl/core/steps"
)

const hypervisorStepName = "hypervisor"

// hypervisorStep starts the plugin that owns the VM.
func (s *Sandbox) hypervisorStep(needs ...string) steps.Step {
	return steps.Step{Name: hypervisorStepName, Needs: needs,
		Do: func(ctx context.Context) (err error) {
			s.hypervisor, err = s.env.StartHypervisor(ctx)
			s.plugged = err == nil
			return err
		},
		Undo: func(ctx context.Context) error {
			s.plugged = false
			if s.unseen {
				s.closed = s.later(ctx, teardownTimeout, s.hypervisor.Close)
				return nil
			}
			err := s.hypervisor.Close(ctx)
			if s.detached != nil {
				err = errors.Join(err, <-s.detached)
			}
			return err
		},
	}
}

// endsUnseen reports whether nobody needs to wait for the end of the VM: it is discarded, and has nothing that somebody else could want now, a volume or a directory of the host.
func (s *Sandbox) endsUnseen() bool {
	return s.unplugged() && len(s.spec.Volumes) == 0 && len(s.spec.Shares) == 0
}

// later does what a step that is taken back does not wait for, and tells when it is done.
func (s *Sandbox) later(ctx context.Context, timeout time.Duration, do func(context.Context) error) chan error {
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		done <- do(ctx)
	}()
	return done
}

// unplugged reports whether the VM ends with its plugin, without a word before: what is in it nobody will see, and a plugin that is closed ends its VMs.
func (s *Sandbox) unplugged() bool { return s.spec.Discarded && !s.kept.Load() }
