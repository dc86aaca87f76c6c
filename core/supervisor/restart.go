package supervisor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/restart"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

// runs runs the container, again and again if its restart policy wants that, and takes the runtime directory away when it has ended for good. Each run has a
// supervision of its own; what goes on from one to the next are the sockets, at which callers wait in between, and the container's log.
func (s *supervision) runs(env func(*supervision) sandbox.Environment, control, streams *net.UnixListener, asked <-chan os.Signal) error {
	for {
		err := s.runOnce(env, control, streams, asked)
		next, nextErr := s.next()
		if next == nil {
			return errors.Join(err, nextErr, control.Close(), streams.Close(), os.RemoveAll(s.run))
		}
		if err != nil {
			s.log.Error("the sandbox has failed, and is started again", "error", err)
		}
		s = next
	}
}

func (s *supervision) runOnce(env func(*supervision) sandbox.Environment, control, streams *net.UnixListener, asked <-chan os.Signal) error {
	ofRun := [2]net.Listener{}
	for i, l := range []*net.UnixListener{control, streams} {
		file, err := l.File()
		if err != nil {
			return err
		}
		ofRun[i], err = net.FileListener(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
		// Ended with the run, if it has come so far; the socket itself stays.
		defer func() { _ = ofRun[i].Close() }()
	}
	return s.serve(env(s), ofRun[0], ofRun[1], asked)
}

// next returns the supervision of the container's next run, nil if it has ended for good.
func (s *supervision) next() (*supervision, error) {
	c, err := s.store.Get(s.container.ID)
	if errors.Is(err, fault.NotFound) {
		return nil, nil // it was to be removed
	}
	if err != nil || c.State != lifecycle.Restarting {
		return nil, err
	}
	if c.Restart.NextTry.Equal(s.container.Restart.NextTry) {
		return nil, errors.New("what became of the last start could not be recorded")
	}
	if c.Desired == store.DesiredStopped { // who wants that came between the end and now
		return nil, s.recordGivenUp(context.Background(), nil)
	}
	b, err := s.store.GetSandbox(s.sandbox.ID)
	if err == nil {
		err = s.clearRun()
	}
	if err != nil {
		return nil, errors.Join(err, s.recordGivenUp(context.Background(), err))
	}
	n := newSupervision(s.store, s.run, b, c, s.log)
	n.output, n.restarted = s.output, true
	n.release() // nobody is to say so
	return n, nil
}

// clearRun removes what the run has left in the runtime directory beside the sockets.
func (s *supervision) clearRun() error {
	entries, err := os.ReadDir(s.run)
	for _, e := range entries {
		if e.Name() != controlSocket && e.Name() != streamSocket {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.run, e.Name())))
		}
	}
	return err
}

// retry plans the next start of a container that has ended, or did not start, and reports whether its policy wants one.
func (s *supervision) retry(c *store.Container) bool {
	policy, err := restart.Parse(c.Restart.Policy)
	if err != nil {
		s.log.Warn("the container's restart policy is unknown", "error", err)
		return false
	}
	end := restart.End{Code: c.Exit.Code, Unwanted: c.Desired == store.DesiredStopped, Restarts: c.Restart.Count}
	if !policy.Again(end) || c.Advance(lifecycle.Retry) != nil { // it is being stopped
		return false
	}
	now := time.Now()
	var ran time.Duration
	if c.Run != nil && !c.Run.Started.IsZero() {
		ran = now.Sub(c.Run.Started)
	}
	c.Restart.Delay = restart.Delay(c.Restart.Delay, ran)
	c.Restart.Count, c.Restart.NextTry = c.Restart.Count+1, now.Add(c.Restart.Delay)
	return true
}

// rest waits until a restarted container is to begin, and records that it does. It ends early when the container is stopped, which is on record then. What the
// container is made of, and its volumes, are looked at after that only: its user, and other containers, may have changed them.
func (s *supervision) rest(ctx context.Context) error {
	if !s.restarted {
		return nil
	}
	// The host's clock may have been set meanwhile.
	timer := time.NewTimer(min(time.Until(s.container.Restart.NextTry), s.container.Restart.Delay))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return s.givenUp(ctx)
	}
	held, err := s.store.LockContainer(ctx, s.container.ID) // nobody changes it now
	if err != nil {
		if ctx.Err() != nil {
			return s.givenUp(ctx)
		}
		return errors.Join(err, s.recordGivenUp(context.WithoutCancel(ctx), err))
	}
	defer held.Close()
	return s.again(context.WithoutCancel(ctx))
}

// again begins the next start. The container's lock is held.
func (s *supervision) again(ctx context.Context) error {
	s.asked = time.Now()
	s.began = s.asked
	b, err := s.store.GetSandbox(s.sandbox.ID)
	var c store.Container
	if err == nil {
		c, err = s.store.Get(s.container.ID)
	}
	var spec sandbox.Spec
	if err == nil {
		spec, err = s.spec(b)
	}
	if err != nil {
		return errors.Join(err, s.recordFailed(ctx, err))
	}
	spec.IOLimits = IOLimits(c.Mounts, c.Resources.IO) // s.container is of before the pause, and others read it now
	s.box.Change(spec)
	_, err = s.store.Update(ctx, s.container.ID, func(c *store.Container) error {
		c.Run = &store.Run{Asked: s.asked}
		return c.Advance(lifecycle.Again)
	})
	if err != nil {
		return errors.Join(err, s.recordGivenUp(ctx, err))
	}
	return nil
}

// givenUp records that a container is stopped while it waits for its next start.
func (s *supervision) givenUp(ctx context.Context) error {
	return errors.Join(context.Cause(ctx), s.recordGivenUp(context.WithoutCancel(ctx), nil))
}

// recordGivenUp records that a container which waits for its next start has none: it was stopped, or cause is why.
func (s *supervision) recordGivenUp(ctx context.Context, cause error) error {
	_, err := s.store.Update(ctx, s.container.ID, func(c *store.Container) error {
		if c.State != lifecycle.Restarting {
			return nil // on record already
		}
		if cause != nil {
			c.Exit = &store.Exit{Code: 125, Reason: lifecycle.ReasonFailedToStart, Message: cause.Error(), Time: time.Now()}
		}
		return c.Advance(lifecycle.Stop)
	})
	if closeErr := s.output.Close(); closeErr != nil {
		s.log.Warn("the container's log is not complete", "error", closeErr)
	}
	return err
}

// noRetry takes back the next start of a container whose start has failed just when it was to stop.
func (s *supervision) noRetry(ctx context.Context) error {
	if !s.restarted {
		return nil
	}
	_, err := s.store.Update(ctx, s.container.ID, func(c *store.Container) error {
		if c.State != lifecycle.Restarting {
			return nil
		}
		return c.Advance(lifecycle.Stop)
	})
	return err
}

// unwanted notes that the user wants the container to end: no policy starts it again. A record that cannot be written does not keep it alive.
func (s *supervision) unwanted(ctx context.Context) {
	_, err := s.store.Update(context.WithoutCancel(ctx), s.container.ID, func(c *store.Container) error {
		c.Desired = store.DesiredStopped
		return nil
	})
	if err != nil {
		s.log.Warn("cannot record that the container is to end", "error", err)
	}
}

// waiting reports whether the container is to be started by its policy, or is being, and does not run yet.
func (s *supervision) waiting() bool {
	select {
	case <-s.started:
		c, err := s.store.Get(s.container.ID)
		return err == nil && c.State == lifecycle.Restarting // this run has ended
	default:
		return s.restarted
	}
}
