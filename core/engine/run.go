package engine

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/signals"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/supervisor"
	"github.com/vzctl/vzctl/core/timeline"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Start starts a container that runs by itself.
func (e *Engine) Start(ctx context.Context, ref string) (Container, error) {
	return e.begin(ctx, ref, lifecycle.Start)
}

func (e *Engine) begin(ctx context.Context, ref string, how lifecycle.Event) (Container, error) {
	s, held, err := e.supervise(ctx, ref, how, false)
	if err != nil {
		return Container{}, err
	}
	defer held.Close()
	defer s.Close()
	end := timeline.Begin(ctx, "await process", timeline.Start)
	err = s.Start(ctx)
	end()
	if err != nil {
		return Container{}, err
	}
	return e.Inspect(ctx, s.ContainerID)
}

// AttachStart starts a container with its streams connected before its process runs.
func (e *Engine) AttachStart(ctx context.Context, ref string, streams Streams, started func(Container)) (Exit, error) {
	return e.attachBegin(ctx, ref, lifecycle.Start, streams, started)
}

func (e *Engine) attachBegin(ctx context.Context, ref string, how lifecycle.Event, streams Streams, started func(Container)) (Exit, error) {
	s, held, err := e.supervise(ctx, ref, how, !streams.Ordered)
	if err != nil {
		return Exit{}, err
	}
	defer s.Close()
	end := timeline.Begin(ctx, "attach", timeline.Start)
	follow, leave := e.following(ctx, s) // before the start is answered: a container that removes itself may be gone right after that
	defer leave()
	attached, err := attach(ctx, s, "", streams, true)
	end()
	if err != nil {
		return Exit{}, errors.Join(err, s.Abandon(ctx), held.Close())
	}
	defer attached.close()
	end = timeline.Begin(ctx, "await process", timeline.Start)
	err = s.Start(ctx)
	end()
	// Read with the lock held: a container that has ended already, and removes itself, is still there.
	var c Container
	if err == nil {
		c, err = e.Inspect(ctx, s.ContainerID)
	}
	if closeErr := held.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return Exit{}, err
	}
	if started != nil {
		started(c) // before the first byte of output, so that a terminal is ready for it
	}
	attached.begin(streams)
	return follow(attached, streams)
}

// Attach connects to a container that runs.
func (e *Engine) Attach(ctx context.Context, ref string, streams Streams) (Exit, error) {
	s, err := e.connect(ref, lifecycle.Attach)
	if err != nil {
		return Exit{}, err
	}
	defer s.Close()
	follow, leave := e.following(ctx, s)
	defer leave()
	attached, err := attach(ctx, s, "", streams, false)
	if err != nil {
		return Exit{}, err
	}
	defer attached.close()
	attached.begin(streams)
	return follow(attached, streams)
}

// following asks for the end of a container, and leave takes that back. follow waits until all output is written and the container is on record as stopped.
func (e *Engine) following(ctx context.Context, s *supervisor.Client) (follow func(*attachment, Streams) (Exit, error), leave func()) {
	asking, leave := context.WithCancel(ctx)
	answer := s.AskEnd(asking)
	return func(attached *attachment, streams Streams) (Exit, error) {
		return outlast(ctx, s, "", attached, streams, func(ctx context.Context) (Exit, error) {
			defer context.AfterFunc(ctx, leave)()
			return e.ended(ctx, s, answer)
		})
	}, leave
}

// ended returns what the supervisor of a container says of its end; if it is gone the record tells.
func (e *Engine) ended(ctx context.Context, s *supervisor.Client, answer func() (supervisor.Exit, error)) (Exit, error) {
	outcome, err := answer()
	if err == nil {
		return Exit(outcome), nil
	}
	if ctx.Err() != nil {
		return Exit{}, ctx.Err()
	}
	if err := lock.AwaitFree(ctx, e.store.Paths().SandboxLife(s.SandboxID)); err != nil {
		return Exit{}, err
	}
	c, getErr := e.store.Get(s.ContainerID)
	if getErr != nil {
		return Exit{}, errors.Join(err, getErr)
	}
	if c.Exit == nil {
		return Exit{}, err
	}
	return exitOf(c), nil
}

// Wait returns when a container has stopped.
func (e *Engine) Wait(ctx context.Context, ref string) (Exit, error) {
	c, err := e.store.Find(ref)
	if err != nil {
		return Exit{}, err
	}
	if !c.State.Active() {
		return exitOf(c), nil
	}
	s, err := supervisor.Connect(e.store, c.Sandbox, c.ID)
	if err != nil {
		return Exit{}, err
	}
	defer s.Close()
	return e.ended(ctx, s, s.AskEnd(ctx))
}

// Stop ends a container.
func (e *Engine) Stop(ctx context.Context, ref string, options StopOptions) error {
	c, err := e.store.Find(ref)
	if err != nil {
		return err
	}
	number, timeout, err := gentleStop(c, options)
	if err != nil {
		return err
	}
	return e.stop(ctx, c.ID, number, timeout)
}

// gentleStop returns how a container is asked to end.
func gentleStop(c store.Container, options StopOptions) (signal int, timeout time.Duration, err error) {
	timeout = defaultStopTimeout
	if seconds := c.Process.StopSeconds; seconds != nil {
		timeout = time.Duration(*seconds) * time.Second
	}
	if options.Timeout != nil {
		timeout = *options.Timeout
	}
	signal, err = signals.Number(firstNonEmpty(options.Signal, c.Process.StopSignal, "SIGTERM"))
	return signal, timeout, err
}

// defaultStopTimeout is how long a process may take to end after the stop signal.
const defaultStopTimeout = 10 * time.Second

// stop returns when the container is not running, or is gone. Another verb may be starting it at this moment.
func (e *Engine) stop(ctx context.Context, id string, signal int, timeout time.Duration) error {
	return e.stopBy(ctx, id, func(ctx context.Context, s *supervisor.Client) error { return s.Stop(ctx, signal, timeout) })
}

// stopBy is stop, where ask has the supervisor do it.
func (e *Engine) stopBy(ctx context.Context, id string, ask func(context.Context, *supervisor.Client) error) error {
	for {
		c, err := e.store.Get(id)
		if err != nil {
			return err
		}
		if !c.State.Active() {
			return errors.Join(refuse(c, lifecycle.Stop), e.unwant(ctx, c))
		}
		supervised, err := e.stopSupervised(ctx, c, ask)
		if err != nil {
			return err
		}
		if supervised {
			// The next verb finds nobody in its way.
			return lock.AwaitFree(ctx, e.store.Paths().SandboxLife(c.Sandbox))
		}
		// Nobody looks after it: its supervisor has died, or whoever holds its lock is about to start one.
		held, err := e.store.LockContainer(ctx, id)
		if errors.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := held.Close(); err != nil {
			return err
		}
	}
}

// leavingTimeout is how long a supervisor may take from the end of its sockets to its own.
const leavingTimeout = 10 * time.Second

// stopSupervised has the supervisor of a container stop it. It reports whether there was one to ask.
func (e *Engine) stopSupervised(ctx context.Context, c store.Container, ask func(context.Context, *supervisor.Client) error) (bool, error) {
	s, err := supervisor.Connect(e.store, c.Sandbox, c.ID)
	if errors.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer s.Close()
	err = ask(ctx, s)
	if err == nil || ctx.Err() != nil {
		return true, ctx.Err()
	}
	// Its sockets were there before it was, and go shortly before it does: one that was made for a start whose command has died is such.
	if errors.Is(err, fault.Unavailable) {
		leaving, cancel := context.WithTimeout(ctx, leavingTimeout)
		defer cancel()
		if lock.AwaitFree(leaving, e.store.Paths().SandboxLife(c.Sandbox)) == nil {
			return false, nil
		}
	}
	// A supervisor that died of it, or meanwhile, has stopped the container too.
	alive, aliveErr := e.store.Alive(c.Sandbox)
	if aliveErr != nil || alive {
		return true, errors.Join(err, aliveErr)
	}
	return false, nil
}

// Kill sends a signal to a container's process.
func (e *Engine) Kill(ctx context.Context, ref, signal string) error {
	number, err := signals.Number(firstNonEmpty(signal, "SIGKILL"))
	if err != nil {
		return err
	}
	c, err := e.store.Find(ref)
	if err != nil {
		return err
	}
	if c.State == lifecycle.Paused && number == sigkill {
		return e.stop(ctx, c.ID, sigkill, 0)
	}
	s, err := e.connect(c.ID, lifecycle.Kill)
	if err != nil {
		return err
	}
	defer s.Close()
	if endsByUser(c, number) {
		return s.End(ctx, number)
	}
	return s.Signal(ctx, "", number)
}

// Remove removes a container and all that is its own. With force it is stopped first, and a container that removes itself meanwhile is as good.
func (e *Engine) Remove(ctx context.Context, ref string, force bool) error {
	return e.remove(ctx, ref, force, false)
}

// RemoveWithVolumes is Remove, and removes the volumes that were made for the container alone.
func (e *Engine) RemoveWithVolumes(ctx context.Context, ref string, force bool) error {
	return e.remove(ctx, ref, force, true)
}

func (e *Engine) remove(ctx context.Context, ref string, force, withVolumes bool) error {
	id, err := e.store.Resolve(ref)
	if err != nil {
		return err
	}
	for {
		removed, err := e.tryRemove(ctx, id, force, withVolumes)
		if force && errors.Is(err, fault.NotFound) {
			return nil
		}
		if removed || err != nil {
			return err
		}
	}
}

// tryRemove is one attempt: it reports false if another verb has started the container meanwhile.
func (e *Engine) tryRemove(ctx context.Context, id string, force, withVolumes bool) (removed bool, err error) {
	if c, err := e.store.Get(id); err == nil && c.State.Active() && force {
		if err := e.stop(ctx, id, sigkill, 0); err != nil {
			return false, err
		}
	}
	held, err := e.lockSettled(ctx, id)
	if err != nil {
		return false, err
	}
	defer held.Close()
	if c, err := e.store.Get(id); err == nil && c.State.Active() && force {
		return false, nil
	}
	return true, e.discard(ctx, id, force, withVolumes)
}

const sigkill = 9

// discard removes a container whose lock is held; with force even one whose record is damaged.
func (e *Engine) discard(ctx context.Context, id string, force, withVolumes bool) error {
	c, err := e.store.Get(id)
	if err == nil {
		finish, err := supervisor.Discard(ctx, e.store, id)
		if err != nil {
			return err
		}
		return e.discarded(ctx, c, withVolumes, finish)
	}
	if !force {
		return err
	}
	if err := e.store.Remove(ctx, id); err != nil {
		return err
	}
	c.ID = id // whatever a damaged record says
	e.tell(ctx, aboutContainer("destroy", c))
	return nil
}

// discarded does what is left once a container is on no record any more, all of it: nobody comes back to that.
func (e *Engine) discarded(ctx context.Context, c store.Container, withVolumes bool, finish func() error) error {
	if withVolumes || c.AutoRemove {
		e.discardAnonymous(ctx, c.Mounts)
	}
	e.tell(ctx, aboutContainer("destroy", c))
	if err := finish(); err != nil {
		return &fault.Error{Reason: fault.ReasonOf(err), Op: "remove container", Subject: c.Name, Cause: err}
	}
	return nil
}

// Exec runs another process in a container.
func (e *Engine) Exec(ctx context.Context, ref string, request ExecRequest, streams Streams) (Exit, error) {
	if err := request.checkText(); err != nil {
		return Exit{}, err
	}
	s, err := e.connect(ref, lifecycle.Exec)
	if err != nil {
		return Exit{}, err
	}
	defer s.Close()
	wanted := supervisor.ProcessRequest{Args: request.Args, Env: request.Env, WorkingDir: request.WorkingDir,
		User: request.User, Terminal: request.Terminal, Width: uint32(request.Size.Width), Height: uint32(request.Size.Height), Detached: request.Detach,
		NoInput: streams.Stdin == nil, Ordered: streams.Ordered, Privileged: request.Privileged}
	if wanted.NoInput && !wanted.Terminal && !wanted.Detached && !wanted.Ordered { // it may be brief
		executed, err := s.Execute(ctx, wanted)
		switch {
		case err == nil && executed.Process == "":
			return Exit(executed.Exit), streams.put(executed.Stdout, executed.Stderr)
		case err == nil:
			return e.follow(ctx, s, executed.Process, func() (Exit, error) { return execute(ctx, s, executed.Process, streams, true) })
		case !errors.Is(err, fault.Unsupported):
			return Exit{}, err
		} // otherwise step by step
	}
	process, err := s.CreateProcess(ctx, wanted)
	if err != nil {
		return Exit{}, err
	}
	if request.Detach {
		return Exit{}, s.StartProcess(ctx, process)
	}
	return e.follow(ctx, s, process, func() (Exit, error) { return execute(ctx, s, process, streams, false) })
}

// put writes all of a process's output.
func (s Streams) put(stdout, stderr []byte) error {
	for _, out := range []struct {
		to   io.Writer
		text []byte
	}{{s.Stdout, stdout}, {s.Stderr, stderr}} {
		if out.to == nil || len(out.text) == 0 {
			continue
		}
		if _, err := out.to.Write(out.text); err != nil {
			return err
		}
	}
	return nil
}

// follow waits for the end of a process, and has it forgotten. What the caller no longer waits for ends.
func (e *Engine) follow(ctx context.Context, s *supervisor.Client, process string, end func() (Exit, error)) (Exit, error) {
	exit, err := end()
	if errors.Is(err, ErrDetached) {
		return Exit{}, err // its supervisor forgets it when it has ended
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), s.Signal(after, process, sigkill))
	}
	if deleteErr := s.DeleteProcess(after, process); deleteErr != nil {
		e.log.Debug("cannot forget a process", "process", process, "error", deleteErr) // the container has ended, or soon forgets it itself
	}
	return exit, err
}

// cleanUpTimeout bounds what is done for a caller who is leaving.
const cleanUpTimeout = 10 * time.Second

// execute runs a created process, unless it runs already, with its streams connected.
func execute(ctx context.Context, s *supervisor.Client, process string, streams Streams, runs bool) (Exit, error) {
	attached, err := attach(ctx, s, process, streams, true)
	if err != nil && runs && ctx.Err() == nil { // nobody would read what it writes
		err = errors.Join(err, s.Signal(ctx, process, sigkill))
	}
	if err != nil {
		return Exit{}, err
	}
	defer attached.close()
	if !runs {
		if err := s.StartProcess(ctx, process); err != nil {
			return Exit{}, err
		}
	}
	attached.begin(streams)
	return outlast(ctx, s, process, attached, streams, func(ctx context.Context) (Exit, error) {
		outcome, err := s.Wait(ctx, process)
		return Exit(outcome), err
	})
}

// connect reaches the supervisor of a container in whose state event is allowed.
func (e *Engine) connect(ref string, event lifecycle.Event) (*supervisor.Client, error) {
	c, err := e.store.FindActive(ref)
	if err != nil {
		return nil, err
	}
	if err := refuse(c, event); err != nil {
		return nil, err
	}
	return supervisor.Connect(e.store, c.Sandbox, c.ID)
}
