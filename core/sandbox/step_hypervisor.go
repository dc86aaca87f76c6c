package sandbox

import (
	"context"
	"errors"

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
			var err error
			if s.endsUnseen() {
				s.closed = make(chan error, 1)
				go func() {
					ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownTimeout)
					defer cancel()
					s.closed <- s.hypervisor.Close(ctx)
				}()
			} else {
				err = s.hypervisor.Close(ctx)
			}
			if s.detached != nil {
				err = errors.Join(err, <-s.detached)
			}
			return err
		},
	}
}

// endsUnseen reports whether nobody needs to wait for the end of the VM: the container has ended and is discarded, and the VM has nothing that somebody else could want now, a volume
// or a directory of the host.
func (s *Sandbox) endsUnseen() bool {
	select {
	case <-s.ending:
		return s.unplugged() && len(s.spec.Volumes) == 0 && len(s.spec.Shares) == 0
	default:
		return false // of a start that has failed, nothing may be left
	}
}

// unplugged reports whether the VM ends with its plugin, without a word before: what is in it nobody will see, and a plugin that is closed ends its VMs.
func (s *Sandbox) unplugged() bool { return s.spec.Discarded && !s.kept.Load() }
