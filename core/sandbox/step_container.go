package sandbox

import (
	"context"
	"fmt"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/steps"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// containerStep has the guest mount the root file system and prepare the process.
func (s *Sandbox) containerStep(needs ...string) steps.Step {
	return steps.Step{Name: "container", Needs: needs,
		Do: func(ctx context.Context) error {
			request := &guestv1.CreateContainerRequest{
				ContainerId: s.spec.ContainerID,
				ReadOnly:    s.spec.ReadOnly,
				OciSpec:     s.spec.OCISpec,
				User:        s.spec.User,
				Hostname:    s.spec.Hostname,
			}
			for i, d := range s.spec.Lower {
				request.Lower = append(request.Lower, &guestv1.Disk{Serial: lowerSerial(i), FileSystem: d.FileSystem})
			}
			if s.spec.Layer != nil {
				request.Upper = &guestv1.Disk{Serial: layerSerial, FileSystem: s.spec.Layer.FileSystem}
			}
			if _, err := s.guest.CreateContainer(ctx, request); err != nil {
				return fmt.Errorf("prepare the container in the VM: %w", err)
			}
			return nil
		},
		// Shutdown of the guest ends all containers.
	}
}

// releaseStep holds the process back until its watchers are attached.
func (s *Sandbox) releaseStep(needs ...string) steps.Step {
	return steps.Step{Name: "release", Needs: needs, Do: s.env.Released}
}

// processStep runs the process.
func (s *Sandbox) processStep(needs ...string) steps.Step {
	return steps.Step{Name: "process", Needs: needs,
		Do: func(ctx context.Context) error {
			_, err := s.guest.StartProcess(ctx, &guestv1.StartProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: agent.InitProcess})
			return err
		},
	}
}
