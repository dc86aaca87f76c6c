package sandbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzctl/vzctl/core/agent"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

const (
	// drainTimeout bounds how long clients may take to read what was written before the end of the process: one who is attached and does not read must not keep a VM
	// for ever. Once somebody asks for a stop, or the VM is gone, it is hurriedDrain.
	drainTimeout = 30 * time.Second
	hurriedDrain = 2 * time.Second
	// logTimeout is how long output may take to the log alone.
	logTimeout = 5 * time.Second
	// teardownTimeout bounds the end of a sandbox as a whole.
	teardownTimeout = time.Minute
	// hungAfter is how long the loss of the agent may be known before its reason is.
	hungAfter = 5 * time.Second
	// killTimeout is how long a process may take to end after SIGKILL.
	killTimeout = 15 * time.Second
	// signalTimeout bounds the guest's answer to a signal of Stop, which has other means.
	signalTimeout = 5 * time.Second
)

// run looks after the container until it has ended, takes everything down, and says how it was.
func (s *Sandbox) run() {
	ctx, cancel := context.WithCancelCause(context.Background())
	var watching sync.WaitGroup
	watches := []func(context.Context) Outcome{s.awaitProcess, s.awaitVM, s.awaitHang, s.awaitSaved}
	ended := make(chan Outcome, len(watches))
	for _, watch := range watches {
		watching.Go(func() { ended <- watch(ctx) })
	}
	watching.Go(func() { s.watchEvents(ctx) })
	s.outcome = reasonOf(<-ended, ended)
	cancel(errGuestGone)
	if s.late != nil {
		s.late.cancel()
	}
	close(s.ending)
	s.endPause()
	switch s.outcome.Reason {
	case VMCrashed, Panicked, GuestHung, Saved:
		s.setGone()
		s.hurried.Do(func() { close(s.hurry) }) // what has left the VM is on its way, and no more comes
	}
	s.drain()
	bounded, stop := context.WithTimeout(context.Background(), teardownTimeout)
	defer stop()
	s.unseen = s.endsUnseen()
	err := s.done.Undo(bounded)
	s.forgetAll()
	watching.Wait()
	close(s.over)
	if s.unseen && s.detached != nil {
		err = errors.Join(err, <-s.detached)
	}
	close(s.freed)
	if s.closed != nil {
		err = errors.Join(err, <-s.closed)
	}
	if err != nil {
		s.env.Logger.Error("the sandbox did not end cleanly", "error", err)
	}
	close(s.stopped)
}

// reasonOf returns how the container ended. A VM that ends takes its agent with it; which of the two is told first is chance.
func reasonOf(outcome Outcome, others <-chan Outcome) Outcome {
	patience := time.NewTimer(hungAfter)
	defer patience.Stop()
	for outcome.Reason == GuestHung {
		select {
		case other := <-others:
			if other.Reason != GuestHung {
				return other
			}
		case <-patience.C:
			return outcome
		}
	}
	return outcome
}

// drain lets what the process wrote last reach those attached and the log, and at least the log.
func (s *Sandbox) drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	drained := make(chan struct{})
	go func() { s.pumps.Wait(); close(drained) }() // the undo of the streams ends the pumps
	late := time.NewTimer(drainTimeout)
	defer late.Stop()
	select {
	case <-drained:
		return
	case <-late.C:
	case <-s.hurry:
		select {
		case <-drained:
			return
		case <-time.After(hurriedDrain):
		}
	}
	s.Stdout.End()
	s.Stderr.End()
	if s.vmGone() {
		return
	}
	select {
	case <-drained:
	case <-time.After(logTimeout):
	}
	s.env.Logger.Warn("output is lost to whoever is attached and does not read it")
}

func hung(message string) Outcome {
	return Outcome{Code: codeOfCrash, Reason: GuestHung, Message: message, Time: time.Now()}
}

// awaitProcess returns how the init process ended. To save the sandbox loses the connection; who waits asks again after that.
func (s *Sandbox) awaitProcess(ctx context.Context) Outcome {
	for {
		before := s.saving.begun()
		exit, err := s.waitInit(ctx)
		if err == nil {
			return s.processOutcome(exit)
		}
		if !s.saving.passed(ctx, before) || ctx.Err() != nil {
			return hung(fmt.Sprintf("the guest's agent stopped answering: %v", err))
		}
	}
}

func (s *Sandbox) processOutcome(exit *guestv1.Exit) Outcome {
	o := Outcome{Code: int(exit.GetCode()), Signal: int(exit.GetSignal()), Reason: Exited, Time: time.Now()}
	switch {
	case exit.GetOomKilled() && (o.Signal != 0 || o.Code == codeOfKilled):
		// The second is how a shell ends whose last command was killed.
		o.Reason, o.Message = OutOfMem, "the container ran out of memory"
	case o.Signal != 0:
		o.Reason = Killed
	}
	// Codes come from the guest: keep them within what a process can have.
	o.Code &= 0xff
	return o
}

// codeOfKilled is 128 and SIGKILL.
const codeOfKilled = 137

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
		outcome := crash(vmEnded("while the container ran", last.Exit).Error())
		if last.Exit != nil && last.Exit.Reason == hypervisor.GuestPanic {
			outcome.Reason = Panicked
		}
		return outcome
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
	s.hurried.Do(func() { close(s.hurry) })
	s.signalInit(ctx, signal)
	for _, patience := range []time.Duration{timeout, killTimeout} {
		select {
		case <-s.ending:
			_, err := s.Wait(ctx)
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(patience):
		}
		s.signalInit(ctx, sigkill)
	}
	// A plugin that is dead has taken its VM with it.
	if _, err := s.hypervisor.Stop(ctx, s.spec.VirtualMachineID, hypervisor.Kill); err != nil && !s.pluginGone() {
		return err
	}
	_, err := s.Wait(ctx)
	return err
}

func (s *Sandbox) signalInit(ctx context.Context, signal int) {
	ctx, cancel := context.WithTimeout(ctx, signalTimeout)
	defer cancel()
	if err := s.Signal(ctx, agent.InitProcess, signal); err != nil && !ended(err) {
		s.env.Logger.Warn("cannot signal the container", "signal", signal, "error", err)
	}
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
