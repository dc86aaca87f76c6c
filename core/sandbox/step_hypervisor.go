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
			err := s.hypervisor.Close(ctx)
			if s.detached != nil {
				err = errors.Join(err, <-s.detached)
			}
			return err
		},
	}
}

// unplugged reports whether the VM ends with its plugin, without a word before: what is in it nobody will see, and a plugin that is closed ends its VMs.
func (s *Sandbox) unplugged() bool { return s.spec.Discarded && !s.kept.Load() }
