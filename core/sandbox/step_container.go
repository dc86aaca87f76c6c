package sandbox

import (
	"context"
	"fmt"
	"time"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/steps"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// containerStep has the guest mount the root file system and prepare the process.
func (s *Sandbox) containerStep(needs ...string) steps.Step {
	return steps.Step{Name: containerStepName, Needs: needs,
		Do: func(ctx context.Context) error {
			request := &guestv1.CreateContainerRequest{
				ContainerId: s.spec.ContainerID,
				ReadOnly:    s.spec.ReadOnly,
				OciSpec:     s.spec.OCISpec,
				User:        s.spec.User,
				Hostname:    s.spec.Hostname,
				Groups:      s.spec.Groups,
				Init:        s.spec.Init,
				Sources:     s.guestSources(),

				ReportPhases: s.spec.Timed,
			}
			for i, d := range s.spec.Lower {
				request.Lower = append(request.Lower, &guestv1.Disk{Serial: lowerSerial(i), FileSystem: d.FileSystem})
			}
			if f := s.spec.Filter; f != nil {
				request.Seccomp = &guestv1.SeccompFilter{Program: f.Program, Flags: f.Flags}
			}
			for _, h := range s.spec.Hosts {
				request.ExtraHosts = append(request.ExtraHosts, &guestv1.Host{Address: h.Address, Name: h.Name})
			}
			var err error
			if request.Sockets, err = s.guestSockets(); err != nil {
				return err
			}
			if request.IoLimits, err = s.guestIOLimits(s.spec.IOLimits); err != nil {
				return err
			}
			if request.UpperJournal, err = s.guestJournal(); err != nil {
				return err
			}
			if s.spec.Layer != nil {
				request.Upper = &guestv1.Disk{Serial: layerSerial, FileSystem: s.spec.Layer.FileSystem}
			}
			begun := time.Now()
			answer, err := s.guest.CreateContainer(ctx, request)
			if err != nil {
				return fmt.Errorf("prepare the container in the VM: %w", err)
			}
			s.told(containerStepName, answer.GetPhases(), begun)
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
	return steps.Step{Name: processStepName, Needs: needs,
		Do: func(ctx context.Context) error {
			begun := time.Now()
			answer, err := s.guest.StartProcess(ctx, &guestv1.StartProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: agent.InitProcess,
				ReportPhases: s.spec.Timed})
			if err != nil {
				return err
			}
			s.told(processStepName, answer.GetPhases(), begun)
			return nil
		},
	}
}
