package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzctl/vzctl/core/agent"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

const (
	// drainTimeout bounds how long output may follow the end of its process: a reader that is attached and does not read must not keep a VM for
	// ever.
	drainTimeout = 30 * time.Second
	// teardownTimeout bounds the end of a sandbox as a whole.
	teardownTimeout = time.Minute
	// hungAfter is how long the agent's connection may be lost while the VM runs.
	hungAfter = 5 * time.Second
)

// run looks after the container until it has ended, takes everything down, and says how it was.
func (s *Sandbox) run() {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	ended := make(chan Outcome, 3) // one for each that may say so first
	go func() { ended <- s.awaitProcess(ctx) }()
	go func() { ended <- s.awaitVM(ctx) }()
	outcome := <-ended
	if outcome.Reason == GuestHung {
		// A VM that has just ended takes its agent with it; which of the two is told first is chance.
		select {
		case other := <-ended:
			if other.Reason == VMCrashed {
				outcome = other
			}
		case <-time.After(hungAfter):
		}
	}
	cancel(errGuestGone)
	if outcome.Reason != VMCrashed && outcome.Reason != GuestHung {
		s.drain()
	} else {
		s.setGone()
	}
	bounded, stop := context.WithTimeout(context.Background(), teardownTimeout)
	defer stop()
	if err := s.done.Undo(bounded); err != nil {
		s.env.Logger.Error("the sandbox did not end cleanly", "error", err)
	}
	s.outcome = outcome
	close(s.stopped)
}

// drain lets what the process wrote last reach the log and those attached.
func (s *Sandbox) drain() {
	drained := make(chan struct{})
	go func() { s.pumps.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(drainTimeout):
		s.env.Logger.Warn("whoever is attached does not read; output is lost to them")
	}
}

// awaitProcess returns how the init process ended.
func (s *Sandbox) awaitProcess(ctx context.Context) Outcome {
	answer, err := s.guest.WaitProcess(ctx, &guestv1.WaitProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: agent.InitProcess})
	if err != nil {
		return Outcome{Code: codeOfCrash, Reason: GuestHung, Message: fmt.Sprintf("the guest's agent stopped answering: %v", err), Time: time.Now()}
	}
	return s.processOutcome(answer.GetExit())
}

func (s *Sandbox) processOutcome(exit *guestv1.Exit) Outcome {
	o := Outcome{Code: int(exit.GetCode()), Signal: int(exit.GetSignal()), Reason: Exited, Time: time.Now()}
	switch {
	case exit.GetOomKilled() && o.Signal != 0:
		o.Reason, o.Message = OutOfMem, "the container ran out of memory"
	case o.Signal != 0:
		o.Reason = Killed
	}
	// Codes come from the guest: keep them within what a process can have.
	o.Code &= 0xff
	return o
}

// awaitVM returns how the VM ended, if it does before ctx.
func (s *Sandbox) awaitVM(ctx context.Context) Outcome {
	crash := func(message string) Outcome {
		return Outcome{Code: codeOfCrash, Reason: VMCrashed, Message: message, Time: time.Now()}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var last *hypervisor.VM
	err := s.hypervisor.Watch(ctx, s.spec.VirtualMachineID, func(vm hypervisor.VM) {
		if vm.State == hypervisor.Stopped {
			last = &vm
			cancel()
		}
	})
	if last != nil {
		return crash(vmEnded("while the container ran", last.Exit).Error())
	}
	select {
	case <-s.hypervisor.Done():
		return crash("the hypervisor plugin ended: " + s.hypervisor.LastWords())
	default:
		return crash(fmt.Sprintf("the hypervisor plugin no longer tells about the VM: %v", err))
	}
}

// Signal sends a signal to a process of the container.
func (s *Sandbox) Signal(ctx context.Context, process string, signal int) error {
	_, err := s.guest.SignalProcess(ctx, &guestv1.SignalProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: process, Signal: int32(signal)})
	return err
}

// Resize sets the size of a process's terminal, in characters.
func (s *Sandbox) Resize(ctx context.Context, process string, width, height uint32) error {
	_, err := s.guest.ResizeTerminal(ctx, &guestv1.ResizeTerminalRequest{ContainerId: s.spec.ContainerID, ProcessId: process, Width: width, Height: height})
	return err
}

const sigkill = 9

// Stop sends a signal to the container's process, SIGKILL after the timeout, and returns when the sandbox is gone. If not even that ends the process the VM is
// ended. Calls may overlap; the most impatient wins.
func (s *Sandbox) Stop(ctx context.Context, signal int, timeout time.Duration) error {
	if err := s.Signal(ctx, agent.InitProcess, signal); err != nil && !ended(err) {
		s.env.Logger.Warn("cannot signal the container", "signal", signal, "error", err)
	}
	for _, patience := range []time.Duration{timeout, agentShutdown} {
		select {
		case <-s.stopped:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(patience):
		}
		if err := s.Signal(ctx, agent.InitProcess, sigkill); err != nil && !ended(err) {
			s.env.Logger.Warn("cannot kill the container", "error", err)
		}
	}
	if _, err := s.hypervisor.Stop(ctx, s.spec.VirtualMachineID, hypervisor.Kill); err != nil {
		return err
	}
	_, err := s.Wait(ctx)
	return err
}

// ended reports whether an error says that the process has ended already.
func ended(err error) bool {
	return errors.Is(err, fault.FailedPrecondition) || errors.Is(err, fault.NotFound) || status.Code(err) == codes.Canceled
}

func (s *Sandbox) setGone() {
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
}

// vmGone reports whether there is nobody left to talk to.
func (s *Sandbox) vmGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}
