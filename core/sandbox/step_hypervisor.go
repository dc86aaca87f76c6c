package sandbox

import (
	"context"

	"github.com/vzctl/vzctl/core/steps"
)

// hypervisorStep starts the plugin that owns the VM.
func (s *Sandbox) hypervisorStep(needs ...string) steps.Step {
	return steps.Step{Name: "hypervisor", Needs: needs,
		Do: func(ctx context.Context) (err error) {
			s.hypervisor, err = s.env.StartHypervisor(ctx)
			return err
		},
		Undo: func(ctx context.Context) error { return s.hypervisor.Close(ctx) },
	}
}
