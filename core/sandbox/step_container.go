package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/steps"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// containerStep gives the VM its identity, and has the guest mount the root file system and prepare the process.
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
			request.InputEnded = s.bornEnded()
			begins := s.guest.Offers(featureBegin)
			if !begins {
				if err := s.adopt(ctx); err != nil {
					return err
				}
			} else if request.Adopt, err = s.identity(); err != nil {
				return err
			}
			begun := time.Now()
			answer, err := s.guest.CreateContainer(ctx, request)
			if err != nil {
				return s.unanswered(ctx, fmt.Errorf("prepare the container in the VM: %w", err))
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

// featureBegin is the guest's ability to begin with fewer calls, each of which costs an emulated guest milliseconds: a container is created with the machine's identity, and
// its process run and waited for.
const featureBegin = "begin"

// processStep runs the process.
func (s *Sandbox) processStep(needs ...string) steps.Step {
	return steps.Step{Name: processStepName, Needs: needs,
		Do: func(ctx context.Context) error {
			begun := time.Now()
			start := s.startInit
			if s.guest.Offers(featureBegin) {
				start = s.runInit
			}
			started, err := start(ctx)
			if err != nil {
				return err
			}
			s.told(processStepName, started.GetPhases(), begun)
			return nil
		},
	}
}

func (s *Sandbox) startInit(ctx context.Context) (*guestv1.StartProcessResponse, error) {
	return s.guest.StartProcess(ctx, &guestv1.StartProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: agent.InitProcess, ReportPhases: s.spec.Timed})
}

// runInit leaves a call behind that ends with the process, for awaitInit.
func (s *Sandbox) runInit(ctx context.Context) (*guestv1.StartProcessResponse, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	call, err := s.guest.RunProcess(life, &guestv1.RunProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: agent.InitProcess, ReportPhases: s.spec.Timed,
		Brief: s.late != nil})
	var answer *guestv1.RunProcessResponse
	if err == nil {
		answer, err = call.Recv()
	}
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err == nil && answer.GetStarted() == nil {
		err = errors.New("the guest does not say that the process has started")
	}
	if err != nil {
		cancel()
		return nil, err
	}
	s.running = &lifelong{cancel: cancel, ended: make(chan struct{})}
	go s.running.receive(call)
	if l, r := s.late, s.running; l != nil {
		s.pumps.Go(func() { s.takeOutput(l, r) })
	}
	return answer.GetStarted(), nil
}

// lifelong is a call that ends with the process.
type lifelong struct {
	cancel context.CancelFunc
	ended  chan struct{} // closed when the call has ended, with
	answer *guestv1.RunProcessResponse
	err    error
}

// receive waits for the end of the call.
func (r *lifelong) receive(call grpc.ServerStreamingClient[guestv1.RunProcessResponse]) {
	defer close(r.ended)
	defer r.cancel()
	r.answer, r.err = call.Recv()
	if r.err == nil && r.answer.GetExit() == nil {
		r.err = errors.New("the guest does not say how the process has ended")
	}
}

// wait returns how the process has ended. With ctx it ends the call.
func (r *lifelong) wait(ctx context.Context) (*guestv1.Exit, error) {
	stop := context.AfterFunc(ctx, r.cancel)
	defer stop()
	<-r.ended
	return r.answer.GetExit(), r.err
}

// output is what the process wrote, if the call has ended, and told it.
func (r *lifelong) output() *guestv1.Output {
	select {
	case <-r.ended:
		if r.err == nil {
			return r.answer.GetOutput()
		}
	default:
	}
	return nil
}

// waitInit returns how the init process has ended, by the call that has started it or, once that is lost, by another.
func (s *Sandbox) waitInit(ctx context.Context) (*guestv1.Exit, error) {
	if r := s.running; r != nil {
		s.running = nil
		exit, err := r.wait(ctx)
		if err == nil && s.late != nil {
			err = s.late.await(ctx) // whose streams may be opened yet, which they are not once the end is known
		}
		return exit, err
	}
	answer, err := s.guest.WaitProcess(ctx, s.waitRequest(agent.InitProcess))
	return answer.GetExit(), err
}
