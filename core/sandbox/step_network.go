package sandbox

import (
	"context"
	"errors"
	"time"

	"github.com/vzctl/vzctl/core/steps"
	"github.com/vzctl/vzctl/sdk/hostpath"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

// networkStep gets the sandbox a place on its network, over a kind of link that the hypervisor takes.
func (s *Sandbox) networkStep() steps.Step {
	needs := []string{hypervisorStepName}
	if len(s.spec.Links) > 0 {
		needs = nil
	}
	return steps.Step{Name: "network", Needs: needs,
		Do: func(ctx context.Context) error {
			if s.spec.Network == "" {
				return nil
			}
			request := s.spec.Wanted
			request.RequestID = "attach " + s.spec.ID
			request.Network = s.spec.Network
			request.EndpointID = s.spec.ID
			if request.LinkTypes = s.spec.Links; len(request.LinkTypes) == 0 {
				request.LinkTypes = s.hypervisor.Info().Capabilities[hypervisor.CapabilityLink]
			}
			request.LinkDir = s.spec.RuntimeDir
			lease, err := s.env.Attach(ctx, request)
			if err != nil {
				return err
			}
			// The hypervisor will open these paths for whoever named them.
			if err := checkLink(s.spec.RuntimeDir, lease.Endpoint().Link); err != nil {
				return errors.Join(err, lease.Close(context.WithoutCancel(ctx)))
			}
			s.lease = lease
			return nil
		},
		Undo: func(ctx context.Context) error {
			if s.lease == nil {
				return nil
			}
			if !s.plugged && !s.unseen {
				return s.lease.Close(ctx)
			}
			// Beside the end of the hypervisor, which waits for it, or of all.
			s.detached = s.later(ctx, detachTimeout, s.lease.Close)
			return nil
		},
	}
}

// detachTimeout bounds giving the place on a network back.
const detachTimeout = 20 * time.Second

// checkLink refuses a link whose sockets lie elsewhere than where they were asked for.
func checkLink(dir string, link network.Link) error {
	if link.UnixDatagram != nil {
		return errors.Join(hostpath.Within(dir, link.UnixDatagram.VMPath), hostpath.Within(dir, link.UnixDatagram.NetworkPath))
	}
	if link.UnixStream != nil {
		return hostpath.Within(dir, link.UnixStream.NetworkPath)
	}
	return nil
}
