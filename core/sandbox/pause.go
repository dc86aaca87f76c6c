package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vzctl/vzctl/core/capability"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

var errPaused = &fault.Error{Reason: fault.FailedPrecondition, Op: "execute in container", Cause: errors.New("it is paused"), Hint: "unpause it first"}

// Pause lets the VM stand still where it is, until Unpause. Its guest is asked nothing meanwhile; processes that were executed stand still with it. A sandbox that is
// being saved is waited for. After an error it runs as before.
func (s *Sandbox) Pause(ctx context.Context) error {
	machine, err := s.pauser()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-s.ending: // a sandbox that was saved does not give the turn back
			cancel(errGuestGone)
		case <-stop:
		}
	}()
	end, err := s.saving.pause(ctx)
	if err != nil {
		return explained(ctx, err)
	}
	if err := s.settle(ctx); err != nil {
		end()
		return explained(ctx, err)
	}
	if err := machine.Pause(ctx, s.spec.VirtualMachineID); err != nil {
		// A pause that was given up may have been made all the same.
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), goOnTimeout)
		defer cancel()
		err = errors.Join(explained(ctx, err), s.resumed(patience, machine))
		end()
		return err
	}
	if s.holdPause(end) {
		return nil
	}
	end() // its process had ended already, and it goes on to the end
	return errors.Join(errGuestGone, s.resumed(context.WithoutCancel(ctx), machine))
}

// holdPause keeps what ends a pause, unless the sandbox is ending: who ends it has looked for it, or will.
func (s *Sandbox) holdPause(end func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ending:
		return false
	default:
		s.unpause = end
		return true
	}
}

// endPause lets a sandbox that is ending go on, so that its guest can write out what it has to.
func (s *Sandbox) endPause() {
	s.mu.Lock()
	end := s.unpause
	s.unpause = nil
	s.mu.Unlock()
	if end == nil {
		return
	}
	defer end()
	ctx, cancel := context.WithTimeout(context.Background(), goOnTimeout)
	defer cancel()
	if machine, err := s.pauser(); err == nil {
		_ = s.resumed(ctx, machine) // what becomes of one that does not go on the end will see
	}
}

// Unpause lets a paused VM go on, with the time of the host. One that is not paused goes on as it did. Calls do not overlap with those of Pause.
func (s *Sandbox) Unpause(ctx context.Context) error {
	if !s.Paused() {
		return nil
	}
	machine, err := s.pauser()
	if err != nil {
		return err
	}
	if err := s.resumed(ctx, machine); err != nil {
		return err
	}
	// First of all, so that hardly anybody sees the time of before.
	err = s.setClock(ctx)
	s.mu.Lock()
	end := s.unpause
	s.unpause = nil
	s.mu.Unlock()
	if end != nil { // the sandbox is not ending
		end()
	}
	if err != nil {
		return fmt.Errorf("the container goes on with the time at which it was paused: %w", err)
	}
	return nil
}

// Paused reports whether the VM stands still for Pause.
func (s *Sandbox) Paused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unpause != nil
}

// resumed lets the VM go on; one that has ended needs nothing.
func (s *Sandbox) resumed(ctx context.Context, machine hypervisor.Pauser) error {
	err := machine.Resume(ctx, s.spec.VirtualMachineID)
	if err == nil {
		return nil
	}
	select {
	case <-s.ending:
		return nil
	default:
		return explained(ctx, err)
	}
}

// pauser returns the hypervisor, if it can.
func (s *Sandbox) pauser() (hypervisor.Pauser, error) {
	info := s.hypervisor.Info()
	if err := capability.Features(info, hypervisor.FeaturePause); err != nil {
		return nil, err
	}
	can, ok := s.hypervisor.(hypervisor.Pauser)
	if !ok {
		return nil, &fault.Error{Reason: fault.Unsupported, Op: "use hypervisor", Subject: info.Name, Cause: errors.New("it does not do what it offers")}
	}
	return can, nil
}

const (
	// clockTimeout bounds the guest's answer to a change of its clock.
	clockTimeout = 30 * time.Second
	// clockTolerance is how far the guest's clock may be from the host's. Less is within what a probe of a slow machine can tell.
	clockTolerance = time.Second
)

// setClock gives the guest the time of the host.
func (s *Sandbox) setClock(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, clockTimeout, errors.New("the guest does not answer"))
	defer cancel()
	_, err := s.guest.Adopt(ctx, &guestv1.AdoptRequest{Time: timestamppb.Now()})
	return explained(ctx, err)
}

// keepTime puts the guest's clock right if an answer shows that it is not: the host has slept, somebody has set its clock, or the two have drifted apart. The
// guest has told its time, zero if it does not, at a moment between asked and answered.
func (s *Sandbox) keepTime(ctx context.Context, told, asked, answered time.Time) {
	// By the clocks that people read: the host's monotonic clock stops while it sleeps.
	asked, answered = asked.Round(0), answered.Round(0)
	if told.IsZero() || !told.Before(asked.Add(-clockTolerance)) && !told.After(answered.Add(clockTolerance)) {
		return
	}
	if err := s.setClock(ctx); err != nil {
		s.env.Logger.Warn("cannot set the guest's clock", "error", err)
		return
	}
	s.env.Logger.Info("the guest's clock was wrong and is set", "was", told, "is", answered)
}
