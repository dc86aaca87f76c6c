package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/core/capability"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/progress"
)

const (
	// freezeTimeout bounds how long the guest may take to let its processes stand still, and to write its disks out.
	freezeTimeout = 2 * time.Minute
	// streamsTimeout bounds how long output that the guest has sent may take to the log.
	streamsTimeout = 20 * time.Second
	// goOnTimeout bounds what it takes to let a container go on, whatever has become of who asked for it to be saved.
	goOnTimeout = 2 * time.Minute
)

// SaveRequest is how a sandbox is to be saved.
type SaveRequest struct {
	Directory string // empty, and its user's alone
	// LeaveRunning has the container go on. Otherwise the sandbox ends, with the outcome Saved.
	LeaveRunning bool
	// LoseConnections saves it even if processes have open connections to others.
	LoseConnections bool
	// Commit is called when all is saved, and on the disk, and the VM stands still. After an error the container goes on.
	Commit func(ctx context.Context, stateBytes uint64, inputEnded bool) error
	Report progress.Func
}

// saver is a hypervisor that can save and restore VMs.
type saver interface {
	hypervisor.Pauser
	hypervisor.Snapshotter
}

// saver returns the hypervisor, if it can.
func (s *Sandbox) saver() (saver, error) {
	info := s.hypervisor.Info()
	can, ok := s.hypervisor.(saver)
	if err := capability.Features(info, hypervisor.FeatureSnapshot, hypervisor.FeaturePause); err != nil {
		return nil, err
	}
	if !ok {
		return nil, &fault.Error{Reason: fault.Unsupported, Op: "use hypervisor", Subject: info.Name, Cause: errors.New("it does not do what it offers")}
	}
	return can, nil
}

// Save saves the run of the container: where its processes are, and what they have in memory. What is on its disks stays there. After an error, or if ctx ends before all is
// saved, the container goes on.
func (s *Sandbox) Save(ctx context.Context, r SaveRequest) error {
	machine, err := s.saver()
	if err != nil {
		return err
	}
	end, err := s.beginSaving(ctx)
	if err != nil {
		return err
	}
	ended := false // after which nobody asks the guest anything any more
	defer func() {
		if !ended {
			end()
		}
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-s.ending: // a guest that is gone answers nothing
			cancel(errGuestGone)
		case <-stop:
		}
	}()
	if err := s.settle(ctx); err != nil {
		return explained(ctx, err)
	}
	given, err := s.freeze(ctx, r.LoseConnections)
	if err == nil {
		err = s.saveFrozen(ctx, machine, r)
		given = true
	}
	if err == nil && !r.LeaveRunning {
		s.saving.outcome <- Outcome{Code: codeOfCrash, Reason: Saved, Time: time.Now()}
		ended = true
		return nil
	}
	if goErr := s.goOn(context.WithoutCancel(ctx), machine, given); goErr != nil {
		goErr = fmt.Errorf("the container did not go on: %w", goErr)
		s.saving.outcome <- hung(goErr.Error())
		ended = true
		err = errors.Join(err, goErr)
	}
	return explained(ctx, err)
}

// beginSaving waits for what the guest is about to forget.
func (s *Sandbox) beginSaving(ctx context.Context) (end func(), err error) {
	for {
		end, err = s.saving.begin(ctx, s.nothingElseRuns)
		if !errors.Is(err, errForgetting) {
			return end, err
		}
		s.mu.Lock()
		over := s.forgetting.over
		s.mu.Unlock()
		if over == nil {
			continue
		}
		select {
		case <-over:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

var errForgetting = errors.New("a process that was executed in it has just ended")

// nothingElseRuns refuses if there are processes whose callers wait for their output, and would be gone.
func (s *Sandbox) nothingElseRuns() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.procs == nil:
		return errors.New("it is ending")
	case len(s.procs) > 0:
		return fmt.Errorf("processes that were executed in it: %d", len(s.procs))
	case s.forgetting.count > 0:
		return errForgetting
	}
	return nil
}

// awaitSaved returns when the sandbox was saved and shall end, or could not go on.
func (s *Sandbox) awaitSaved(ctx context.Context) Outcome {
	select {
	case outcome := <-s.saving.outcome:
		return outcome
	case <-ctx.Done():
		return Outcome{}
	}
}

// freeze has the guest stand still with nothing on its way between it and the log. given says, also with an error, that the streams were given back.
func (s *Sandbox) freeze(ctx context.Context, loseConnections bool) (given bool, err error) {
	sent, ended := s.Stdin.Suspend()
	s.Stdout.Suspend()
	s.Stderr.Suspend()
	asking, cancel := context.WithTimeoutCause(ctx, freezeTimeout, errors.New("the guest does not stand still"))
	defer cancel()
	_, err = s.guest.Freeze(asking, &guestv1.FreezeRequest{ContainerId: s.spec.ContainerID, InputBytes: sent, InputEnded: ended, LoseConnections: loseConnections})
	switch {
	case errors.Is(err, fault.Unsupported):
		return false, &fault.Error{Reason: fault.Unsupported, Op: "checkpoint container", Cause: errors.New("its VM was started with an older init image, which cannot stand still"),
			Hint: "start it anew first"}
	case errors.Is(err, fault.FailedPrecondition):
		return false, refused(err)
	case err != nil:
		err = explained(asking, err)
		thawing, cancel := context.WithTimeout(context.WithoutCancel(ctx), goOnTimeout)
		defer cancel()
		// The guest may still be about to stand still, and has been when this is answered.
		return true, errors.Join(err, s.thaw(thawing), s.awaitStreams(thawing))
	}
	return true, s.awaitStreams(ctx)
}

// refused says a guest's refusal in the words of the host's user.
func refused(err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Cause == nil {
		return err
	}
	hint := ""
	if strings.Contains(f.Cause.Error(), "connections") {
		hint = "end them, or give --force"
	}
	return &fault.Error{Reason: fault.FailedPrecondition, Op: "checkpoint container", Cause: f.Cause, Hint: hint}
}

// awaitStreams returns when all that the guest has sent is in the log; streams that do not come to their end are broken off.
func (s *Sandbox) awaitStreams(ctx context.Context) error {
	drained := make(chan struct{})
	go func() { s.pumps.Wait(); close(drained) }() // at the latest when the streams are closed
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(streamsTimeout):
		err = errors.New("output of the container does not reach its log")
	}
	err = errors.Join(err, s.closeStreams())
	<-drained
	return err
}

// saveFrozen saves the VM of a container that stands still.
func (s *Sandbox) saveFrozen(ctx context.Context, machine saver, r SaveRequest) error {
	size, err := machine.Snapshot(ctx, "snapshot "+s.spec.ID, s.spec.VirtualMachineID, r.Directory, r.Report)
	if err != nil {
		return err
	}
	return r.Commit(ctx, size, s.Stdin.Ended())
}

// goOn lets the container go on, wherever it was stopped on the way.
func (s *Sandbox) goOn(ctx context.Context, machine saver, streamsGiven bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, goOnTimeout, errors.New("the guest does not answer"))
	defer cancel()
	select {
	case <-s.ending:
		return nil // for a reason of its own
	default:
	}
	s.Stdout.Resume()
	s.Stderr.Resume()
	if !streamsGiven {
		// The guest has refused: it stands still no longer, and has the streams it had.
		return s.Stdin.Reopen()
	}
	if err := machine.Resume(ctx, s.spec.VirtualMachineID); err != nil {
		return err
	}
	if err := s.adopt(ctx, grpc.WaitForReady(true)); err != nil { // the connection was lost, perhaps
		return explained(ctx, err)
	}
	if err := s.join(ctx, true); err != nil {
		return explained(ctx, err)
	}
	return explained(ctx, s.thaw(ctx))
}

// thaw lets the processes of the container go on.
func (s *Sandbox) thaw(ctx context.Context) error {
	_, err := s.guest.Thaw(ctx, &guestv1.ThawRequest{ContainerId: s.spec.ContainerID})
	return err
}
