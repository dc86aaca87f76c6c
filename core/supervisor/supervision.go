package supervisor

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/containerlog"
	"github.com/vzctl/vzctl/core/events"
	"github.com/vzctl/vzctl/core/health"
	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/store"
)

// goAheadTimeout is how long a ready process waits for its starter to say go.
const goAheadTimeout = 30 * time.Second

// supervision is one run of one sandbox, on record.
type supervision struct {
	store     *store.Store
	run       string // runtime directory
	sandbox   store.Sandbox
	container store.Container
	box       *sandbox.Sandbox
	guest     *agent.Client // as it was last dialled; nil: it was not
	events    events.Log
	output    *containerlog.Writer
	early     *early       // the plugin of the first run; nil in others
	reaching  *reaching    // of the network of the first run; nil in others
	successor *successor   // of the first run; nil in others
	volumes   []*lock.Lock // of the volumes that the machine has
	// unmountable is why the container cannot have what it mounts; nil: it can.
	unmountable error
	log         hclog.Logger
	asked       time.Time
	began       time.Time // when this process looked after nothing else yet
	opened      time.Time // when its sandbox's start began

	restarted bool // by its policy, not by its user

	released    chan struct{} // closed by release
	releaseOnce sync.Once
	started     chan struct{} // closed when the start has succeeded or failed; startErr is set then
	startErr    error
	starting    context.Context // of the start
	cancelStart context.CancelCauseFunc
	recorded    chan struct{} // closed when the end is on record; outcome is set then
	outcome     sandbox.Outcome
	clients     sync.WaitGroup

	saves  saves
	pauses pauses
	kept   atomic.Bool // it is not removed at its end

	toldOOM atomic.Bool

	prober *prober
	ran    time.Time // when the process did

	untold  chan events.Event // of tellLater
	allTold chan struct{}     // closed once there are no more
}

// newSupervision of records that were just read. Nothing runs yet.
func newSupervision(st *store.Store, run string, b store.Sandbox, c store.Container, log hclog.Logger) *supervision {
	s := &supervision{store: st, run: run, sandbox: b, container: c, log: log, events: events.Log{Path: st.Paths().Events()},
		released: make(chan struct{}), started: make(chan struct{}), recorded: make(chan struct{}), untold: make(chan events.Event, untold), allTold: make(chan struct{}),
		saves: saves{turn: make(chan struct{}, 1)}, pauses: pauses{turn: make(chan struct{}, 1)}, asked: time.Now(), began: time.Now()}
	if c.Run != nil {
		s.asked = c.Run.Asked
	}
	s.prober = newProber(c.Health)
	// Made now: somebody may ask for the end before the beginning.
	s.starting, s.cancelStart = context.WithCancelCause(context.Background())
	return s
}

// release lets the process run as soon as it is ready.
func (s *supervision) release() { s.releaseOnce.Do(func() { close(s.released) }) }

// awaitRelease is the sandbox's last step before the process.
func (s *supervision) awaitRelease(ctx context.Context) error {
	select {
	case <-s.released:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(goAheadTimeout):
		return errors.New("whoever asked for the start is gone")
	}
}

// awaitStart returns what became of the start. If the caller goes before that, so does the start.
func (s *supervision) awaitStart(ctx context.Context) error {
	select {
	case <-s.started:
	case <-ctx.Done():
		s.cancelStart(context.Cause(ctx))
		<-s.started
	}
	return s.startErr
}

// start brings the sandbox up and records it.
func (s *supervision) start() error {
	ctx := s.starting
	defer s.cancelStart(nil)
	if err := s.rest(ctx); err != nil {
		s.startErr = err
		close(s.started)
		return err
	}
	s.opened = time.Now()
	err := s.box.Start(ctx)
	if err == nil {
		err = s.recordRunning(context.WithoutCancel(ctx))
		s.tidy()
		time.AfterFunc(calm, collect)
	} else if recordErr := s.recordFailed(context.WithoutCancel(ctx), err); recordErr != nil {
		err = errors.Join(err, recordErr)
	}
	s.startErr = err
	close(s.started)
	if err == nil {
		s.successor.started()
	}
	return err
}

func (s *supervision) recordRunning(ctx context.Context) error {
	vm := s.box.VM()
	s.ran = time.Now()
	if s.container.Health != nil {
		s.writeHealth(health.State{Status: health.Starting}) // before anybody can ask
	}
	c, err := s.store.Update(ctx, s.container.ID, func(c *store.Container) error {
		if err := c.Advance(lifecycle.Started); err != nil {
			return err
		}
		run := &store.Run{Asked: s.asked, Timed: s.container.Run != nil && s.container.Run.Timed, Started: s.ran, PID: os.Getpid(), Accelerator: vm.Accelerator, Cloned: vm.Cloned, Timeline: s.timeline()}
		if lease, ok := s.box.Endpoint(); ok {
			run.Addresses = lease.Endpoint().Addresses
		}
		c.Run, c.Exit = run, nil
		return nil
	})
	if err == nil {
		if lease, ok := s.box.Endpoint(); ok {
			endpoint := lease.Endpoint()
			_, err = s.store.UpdateSandbox(ctx, s.sandbox.ID, func(b *store.Sandbox) error { b.Endpoint = &endpoint; return nil })
		}
	}
	if err != nil {
		// Nobody could find the container again: do not leave it running.
		err = errors.Join(err, s.box.Stop(ctx, 9, 0))
		return errors.Join(err, s.recordFailed(ctx, err))
	}
	action := "start"
	if s.restores() {
		action = "restore"
	}
	var attributes map[string]string
	if s.restarted {
		attributes = map[string]string{"restartCount": strconv.Itoa(s.container.Restart.Count)}
	}
	s.append(ctx, s.eventOf(c.Name, action, attributes)) // nobody waits for the name to be read once more
	return nil
}

// timeline of the start, counted from when the user asked.
func (s *supervision) timeline() []store.Phase {
	phases := s.box.Timeline()
	all := make([]store.Phase, 1+len(phases))
	all[0] = store.Phase{Name: "supervisor", Begin: s.began.Sub(s.asked), Duration: s.opened.Sub(s.began), Where: "host"}
	for i, p := range phases {
		all[1+i] = store.Phase{Name: p.Name, Begin: p.Begin.Sub(s.asked), Duration: p.Duration, Where: p.Where, Within: p.Within}
	}
	return all
}

func (s *supervision) recordFailed(ctx context.Context, cause error) error {
	again := false
	_, err := s.store.Update(ctx, s.container.ID, func(c *store.Container) error {
		if s.restarted && errors.Is(cause, errStopped) {
			return c.Advance(lifecycle.Exited) // as its last run has
		}
		c.Exit = &store.Exit{Code: 125, Reason: lifecycle.ReasonFailedToStart, Message: cause.Error(), Time: time.Now()}
		if c.State == lifecycle.Restarting { // for want of what it is made of: there is no use in trying again
			return c.Advance(lifecycle.Stop)
		}
		// A user who has asked for the start is told, and decides.
		if again = s.restarted && s.retry(c); again {
			return nil
		}
		if err := c.Advance(lifecycle.Fail); err != nil {
			// It was being stopped already.
			return c.Advance(lifecycle.Exited)
		}
		return nil
	})
	if s.output != nil && !again {
		err = errors.Join(err, s.output.Close())
	}
	if err != nil {
		err = errors.Join(err, s.store.WriteLastWords(s.sandbox.ID, store.Exit{Code: 125, Reason: lifecycle.ReasonFailedToStart,
			Message: cause.Error(), Time: time.Now()}))
	}
	s.tell(ctx, "fail", map[string]string{"error": cause.Error()})
	return err
}

// wait returns how the container ended, once that is on record.
func (s *supervision) wait(ctx context.Context) (sandbox.Outcome, error) {
	select {
	case <-s.recorded:
		return s.outcome, nil
	case <-s.started:
		if s.startErr != nil {
			return sandbox.Outcome{}, s.startErr
		}
	case <-ctx.Done():
		return sandbox.Outcome{}, ctx.Err()
	}
	select {
	case <-s.recorded:
		return s.outcome, nil
	case <-ctx.Done():
		return sandbox.Outcome{}, ctx.Err()
	}
}

// stop ends the container, whatever it is doing.
func (s *supervision) stop(ctx context.Context, signal int, timeout time.Duration) error {
	select {
	case <-s.started:
		if s.startErr != nil {
			return s.noRetry(ctx)
		}
	default:
		s.cancelStart(errStopped)
		<-s.started
		if s.startErr != nil {
			return s.noRetry(ctx)
		}
	}
	s.saves.giveUp()
	// A record that cannot be written does not keep a container alive.
	if _, err := s.store.Update(ctx, s.container.ID, func(c *store.Container) error { return c.Advance(lifecycle.Stop) }); err != nil {
		s.log.Warn("cannot record that the container is stopping", "error", err)
	}
	s.goOn(ctx)
	if err := s.box.Stop(ctx, signal, timeout); err != nil {
		return err
	}
	_, err := s.wait(ctx)
	s.tell(ctx, "stop", nil)
	return err
}

// keep has a container that would be removed at its end stay, with all that it has written.
func (s *supervision) keep() {
	s.kept.Store(true)
	s.box.Keep()
}

// attend waits for the end and records it.
func (s *supervision) attend(ctx context.Context) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	var watched sync.WaitGroup
	if s.container.Health != nil {
		watched.Go(func() { s.watchHealth(watching) })
	}
	outcome, err := s.box.Ended(ctx)
	cancel()
	watched.Wait()
	removes := s.removes(outcome)
	if err == nil && !removes {
		_, err = s.box.Wait(ctx) // it may be wanted again at once, with what its VM has
	}
	if err != nil {
		return err
	}
	s.releaseVolumes()
	if outcome.Reason == sandbox.Saved {
		outcome.Message = store.CheckpointedMessage(s.name())
	}
	if removes {
		s.closeOutput()
		finish, recorded, removeErr := s.remove(ctx, outcome)
		switch {
		case removeErr == nil:
			defer func() { // after all have been told
				_, err := s.box.Wait(ctx) // its VM may have the files open yet
				if err = errors.Join(err, finish()); err != nil {
					s.log.Warn("cannot remove what the container had", "error", err)
				}
			}()
		case errors.Is(removeErr, errKept):
			_, err = s.box.Wait(ctx)
		default:
			s.log.Error("cannot remove the container", "error", removeErr)
		}
		if removeErr != nil && !recorded {
			_, recordErr := s.recordExited(ctx, outcome)
			err = errors.Join(err, recordErr)
		}
	} else {
		var again bool
		again, err = s.recordExited(ctx, outcome)
		if !again { // otherwise those who follow the log go on
			s.closeOutput()
		}
	}
	s.outcome = outcome
	close(s.recorded)
	return err
}

// recordExited records how the container has ended, and tells it; again says that it is started again.
func (s *supervision) recordExited(ctx context.Context, outcome sandbox.Outcome) (again bool, err error) {
	c, err := s.store.Update(ctx, s.container.ID, func(c *store.Container) error {
		c.Exit = exitOf(outcome)
		if again = outcome.Reason != sandbox.Saved && s.retry(c); again {
			return nil
		}
		return c.Advance(lifecycle.Exited)
	})
	if err != nil {
		err = errors.Join(err, s.store.WriteLastWords(s.sandbox.ID, *exitOf(outcome)))
		c.Name = s.name()
	}
	s.tellEnd(ctx, c.Name, outcome)
	return again, err
}

// tellEnd tells of the end of a container, of a name.
func (s *supervision) tellEnd(ctx context.Context, name string, outcome sandbox.Outcome) {
	if outcome.Reason == sandbox.OutOfMem && !s.toldOOM.Load() {
		s.append(ctx, s.eventOf(name, "oom", nil))
	}
	s.append(ctx, s.eventOf(name, "die", map[string]string{"reason": outcome.Reason, "exitCode": strconv.Itoa(outcome.Code)}))
}

func (s *supervision) closeOutput() {
	if err := s.output.Close(); err != nil {
		s.log.Warn("the container's log is not complete", "error", err)
	}
}

// removes reports whether the container is removed at its end.
func (s *supervision) removes(end sandbox.Outcome) bool {
	return s.container.AutoRemove && !s.kept.Load() && end.Reason != sandbox.Saved
}

// removeTimeout bounds the wait for a verb that is at work on the container, and that for those at work on all.
const removeTimeout = 10 * time.Second

// errKept says that a container which would be removed is to stay.
var errKept = errors.New("it is kept")

// remove takes the container off the record, as its user wanted at its end. What it has on the disk is there until finish. Whoever runs many one after another waits for this, so its end is recorded with
// its removal in one step, unless a verb is at work on it. With an error, recorded says that the end is on record nevertheless.
func (s *supervision) remove(ctx context.Context, outcome sandbox.Outcome) (finish func() error, recorded bool, err error) {
	held, err := s.store.TryLockContainer(s.container.ID)
	if errors.Is(err, lock.ErrHeld) {
		if _, err := s.recordExited(ctx, outcome); err != nil {
			return nil, true, err // as well as it can be
		}
		recorded = true
		within, cancel := context.WithTimeout(ctx, removeTimeout)
		defer cancel()
		held, err = s.store.LockContainer(within, s.container.ID)
	}
	if err != nil {
		return nil, recorded, err
	}
	defer held.Close()
	c, err := s.store.UpdateFleeting(ctx, s.container.ID, func(c *store.Container) error {
		if s.kept.Load() {
			return errKept
		}
		if !recorded {
			c.Exit = exitOf(outcome)
			if err := c.Advance(lifecycle.Exited); err != nil {
				return err
			}
		}
		return c.Advance(lifecycle.Remove)
	})
	if err != nil {
		return nil, recorded, err
	}
	if !recorded {
		s.tellEnd(ctx, c.Name, outcome)
	}
	<-s.box.Freed() // so that another can have what was its own; giving that back is bounded
	within, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	// Its record must not come back without them.
	durable := slices.ContainsFunc(c.Mounts, func(m store.Mount) bool { return m.Anonymous })
	if finish, err = s.store.RemoveWhole(within, c.ID, c.Sandbox, durable); err != nil {
		return nil, true, err
	}
	s.append(ctx, s.eventOf(c.Name, "destroy", nil))
	s.removeAnonymous(ctx)
	return finish, true, nil
}

// Discard takes a container that is not running, whose lock is held, off the record with its sandbox. What it has on the disk is there until finish.
func Discard(ctx context.Context, st *store.Store, id string) (finish func() error, err error) {
	c, err := st.Update(ctx, id, func(c *store.Container) error { return c.Advance(lifecycle.Remove) })
	if err != nil {
		return nil, err
	}
	if c.Sandbox == "" {
		return func() error { return nil }, st.Remove(ctx, id)
	}
	return st.RemoveWhole(ctx, id, c.Sandbox, true)
}

// name of the container, which may have another than when its supervisor began.
func (s *supervision) name() string {
	if c, err := s.store.Get(s.container.ID); err == nil {
		return c.Name
	}
	return s.container.Name
}
