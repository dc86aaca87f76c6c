package sandbox

import (
	"context"

	"github.com/vzctl/vzctl/core/steps"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// networkStep gets the sandbox a place on its network, over a kind of link that the hypervisor takes.
func (s *Sandbox) networkStep(needs ...string) steps.Step {
	return steps.Step{Name: "network", Needs: needs,
		Do: func(ctx context.Context) (err error) {
			if s.spec.Network == "" {
				return nil
			}
			request := s.spec.Wanted
			request.RequestID = "attach " + s.spec.ID
			request.Network = s.spec.Network
			request.EndpointID = s.spec.ID
			request.LinkTypes = s.hypervisor.Info().Capabilities[hypervisor.CapabilityLink]
			request.LinkDir = s.spec.RuntimeDir
			s.lease, err = s.env.Attach(ctx, request)
			return err
		},
		Undo: func(ctx context.Context) error {
			if s.lease == nil {
				return nil
			}
			return s.lease.Close(ctx)
		},
	}
}
