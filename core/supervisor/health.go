package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vzctl/vzctl/core/health"
	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/runtimespec"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

// prober asks a container how it is: from time to time, and when somebody wants to know. There is one probe at a time.
type prober struct {
	check *health.Check
	turn  chan struct{} // held by the one who probes, or keeps others from it
	state health.State  // guarded by turn

	mu     sync.Mutex
	held   int                     // who keep others from it, or are about to
	cancel context.CancelCauseFunc // of the probe that runs; nil: none
}

func newProber(check *health.Check) *prober {
	return &prober{check: check, turn: make(chan struct{}, 1), state: health.State{Status: health.Starting}}
}

var errHeld = &fault.Error{Reason: fault.FailedPrecondition, Op: "check health", Cause: errors.New("the container stands still, for a pause or a checkpoint")}

// hold ends the probe that runs, which then counts for nothing, and lets none begin before release.
func (p *prober) hold(ctx context.Context) (release func(), err error) {
	p.mu.Lock()
	p.held++
	if p.cancel != nil {
		p.cancel(errHeld)
	}
	p.mu.Unlock()
	unhold := func() {
		p.mu.Lock()
		p.held--
		p.mu.Unlock()
	}
	select {
	case p.turn <- struct{}{}:
		return func() { unhold(); <-p.turn }, nil
	case <-ctx.Done():
		unhold()
		return nil, ctx.Err()
	}
}

// begin waits for its turn, and returns a context that hold ends.
func (p *prober) begin(ctx context.Context) (context.Context, func(), error) {
	p.mu.Lock()
	held := p.held > 0
	p.mu.Unlock()
	if held { // for who knows how long
		return nil, nil, errHeld
	}
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held > 0 {
		<-p.turn
		return nil, nil, errHeld
	}
	ctx, cancel := context.WithCancelCause(ctx)
	p.cancel = cancel
	return ctx, func() {
		p.mu.Lock()
		p.cancel = nil
		p.mu.Unlock()
		cancel(nil)
		<-p.turn
	}, nil
}

// watchHealth probes a container that has a check until ctx ends.
func (s *supervision) watchHealth(ctx context.Context) {
	begun, last := time.Now(), health.State{Status: health.Starting}
	timer := time.NewTimer(s.prober.check.Pause(last, 0))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		_, state, err := s.probe(ctx)
		switch {
		case err == nil:
			last = state
		case ctx.Err() == nil:
			s.log.Debug("the container's health is not known", "error", err)
		}
		timer.Reset(s.prober.check.Pause(last, time.Since(begun)))
	}
}

var errTimeout = errors.New("the probe's time is up")

// probe asks once, and returns what was answered, and how the container is after that. An error says that nothing was found out.
func (s *supervision) probe(ctx context.Context) (health.Result, health.State, error) {
	p := s.prober
	if err := s.mayProbe(); err != nil { // which says more than who holds it
		return health.Result{}, health.State{}, err
	}
	ctx, end, err := p.begin(ctx)
	if err != nil {
		return health.Result{}, health.State{}, err
	}
	defer end()
	if err := s.mayProbe(); err != nil {
		return health.Result{}, health.State{}, err
	}
	result, err := s.ask(ctx)
	if err == nil && result.ExitCode != 0 {
		err = s.mayProbe() // it may have been paused, or be about to end, meanwhile
	}
	if err != nil {
		return health.Result{}, health.State{}, err
	}
	before := p.state.Status
	p.state.Add(*p.check, result, result.Start.Sub(s.ran))
	s.writeHealth(p.state)
	if p.state.Status != before {
		s.tell(ctx, "health_status", map[string]string{"status": string(p.state.Status)})
	}
	return result, p.state, nil
}

// mayProbe refuses to probe a container that does not run now.
func (s *supervision) mayProbe() error {
	c, err := s.store.Get(s.container.ID)
	if err == nil && c.State != lifecycle.Running {
		err = &lifecycle.TransitionError{Container: c.Name, State: c.State, Event: lifecycle.Exec}
	}
	return err
}

// ask executes the check's command.
func (s *supervision) ask(ctx context.Context) (health.Result, error) {
	args, err := s.prober.check.Args()
	if err != nil {
		return health.Result{}, err
	}
	process, err := runtimespec.Process(args, s.container.Process.Env, s.container.Process.WorkingDir, false)
	if err != nil {
		return health.Result{}, err
	}
	body, err := json.Marshal(process)
	if err != nil {
		return health.Result{}, err
	}
	patience := s.prober.check.Patience()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errTimeout)
	defer cancel()
	result := health.Result{Start: time.Now()}
	outcome, output, err := s.box.Capture(ctx, body, s.container.Process.User, health.MaxOutput)
	result.End, result.ExitCode, result.Output = time.Now(), outcome.Code, string(output)
	switch reason := fault.ReasonOf(err); {
	case err == nil:
	case errors.Is(err, errTimeout):
		result.ExitCode, result.Output = health.TimedOut, fmt.Sprintf("no answer within %s\n", patience)+result.Output
	case reason == fault.NotFound, reason == fault.PermissionDenied, reason == fault.Invalid: // no such command
		result.ExitCode, result.Output = health.TimedOut, err.Error()
	default:
		return health.Result{}, err
	}
	return result, nil
}

// writeHealth tells others; the next probe does it again.
func (s *supervision) writeHealth(state health.State) {
	if err := store.WriteJSON(s.store.Paths().ContainerHealth(s.container.ID), state, false); err != nil {
		s.log.Warn("cannot write down how the container is", "error", err)
	}
}
