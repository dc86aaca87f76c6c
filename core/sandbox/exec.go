package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/vzctl/vzctl/core/stdio"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// execProcess is a further process in the container. Its streams go straight to the one caller who opens them.
type execProcess struct {
	terminal bool
	detached bool
	opened   chan struct{} // closed when streams is set
	streams  *streams
	deleted  chan struct{} // closed when it is forgotten
	attached sync.WaitGroup
	clients  []net.Conn  // guarded by Sandbox.mu
	unwanted *time.Timer // forgets a process that nobody starts
}

// unstartedTimeout is how long a created process is kept for a caller who may be gone.
const unstartedTimeout = 30 * time.Second

// CreateProcess prepares a process and opens its streams. Nobody attaches to a detached one, or deletes it. A process that is not started soon is
// forgotten: its caller is gone.
func (s *Sandbox) CreateProcess(ctx context.Context, ociProcess []byte, user string, terminal, detached bool) (id string, err error) {
	done, err := s.saving.exclude()
	if err != nil {
		return "", err
	}
	defer done()
	s.mu.Lock()
	s.nextProc++
	id = "exec" + strconv.Itoa(s.nextProc)
	s.mu.Unlock()
	if _, err := s.guest.CreateProcess(ctx, &guestv1.CreateProcessRequest{
		ContainerId: s.spec.ContainerID, ProcessId: id, OciProcess: ociProcess, User: user}); err != nil {
		return "", err
	}
	p := &execProcess{terminal: terminal, detached: detached, opened: make(chan struct{}), deleted: make(chan struct{})}
	if !terminal {
		if err := s.open(ctx, id, p); err != nil {
			return "", errors.Join(err, s.deleteInGuest(context.WithoutCancel(ctx), id))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.procs == nil {
		return "", errors.Join(errEnded, p.close())
	}
	p.unwanted = time.AfterFunc(unstartedTimeout, func() { s.deleteQuietly(id) })
	s.procs[id] = p
	return id, nil
}

// errEnded is what is said to who comes too late.
var errEnded = &fault.Error{Reason: fault.FailedPrecondition, Op: "execute in container", Cause: errors.New("it has ended")}

// open opens the streams of a process; a terminal's once it runs.
func (s *Sandbox) open(ctx context.Context, id string, p *execProcess) error {
	ctx, cancel := context.WithTimeout(ctx, guestAnswer)
	defer cancel()
	opened, err := openStreams(ctx, s.guest, s.spec.ContainerID, id, p.terminal, false)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-p.deleted:
		return errors.Join(noProcess(id), opened.close())
	default:
	}
	p.streams = opened
	close(p.opened)
	return nil
}

// close closes the streams, if they are open.
func (p *execProcess) close() error {
	select {
	case <-p.opened:
		return p.streams.close()
	default:
		return nil
	}
}

func (s *Sandbox) process(id string) *execProcess {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.procs[id]
}

// StartProcess runs a created process.
func (s *Sandbox) StartProcess(ctx context.Context, id string) error {
	p := s.process(id)
	if p == nil {
		return noProcess(id)
	}
	p.unwanted.Stop()
	_, err := s.guest.StartProcess(ctx, &guestv1.StartProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: id})
	if err == nil && p.terminal {
		err = s.open(ctx, id, p)
	}
	switch {
	case err == nil && p.detached:
		s.tend(func() { s.drainDetached(id, p) })
	case p.detached:
		if deleteErr := s.DeleteProcess(context.WithoutCancel(ctx), id); deleteErr != nil {
			err = errors.Join(err, deleteErr)
		}
	}
	return err
}

// tend runs what looks after a process. It ends with the process, or with the agent's connection, at the latest; the end of the sandbox waits for it.
func (s *Sandbox) tend(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.procs != nil {
		s.tending.Go(f)
	}
}

// drainDetached lets a detached process run to its end, and forgets it.
func (s *Sandbox) drainDetached(id string, p *execProcess) {
	var drained sync.WaitGroup
	for _, out := range []net.Conn{p.streams.stdout, p.streams.stderr} {
		if out != nil {
			drained.Go(func() { _, _ = io.Copy(io.Discard, out) }) // the end of the VM is an end, too
		}
	}
	if half, ok := p.streams.stdin.(stdio.WriteCloser); ok && p.streams.stderr != nil {
		_ = half.CloseWrite() // a process that has ended needs no input
	}
	s.forgetAtEnd(id)
	drained.Wait() // the streams are closed now
}

// forgetAtEnd forgets a process that nobody waits for, once it has ended.
func (s *Sandbox) forgetAtEnd(id string) {
	if _, err := s.guest.WaitProcess(context.Background(), s.waitRequest(id)); err != nil {
		s.env.Logger.Debug("cannot wait for a process", "process", id, "error", err)
	}
	s.deleteQuietly(id)
}

func (s *Sandbox) deleteQuietly(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), guestAnswer)
	defer cancel()
	if err := s.DeleteProcess(ctx, id); err != nil {
		s.env.Logger.Debug("cannot forget a process", "process", id, "error", err)
	}
}

func (s *Sandbox) waitRequest(id string) *guestv1.WaitProcessRequest {
	return &guestv1.WaitProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: id}
}

// WaitProcess returns how a process ended. If the caller goes before that, and nobody deletes the process, it runs to its end and is forgotten.
func (s *Sandbox) WaitProcess(ctx context.Context, id string) (Outcome, error) {
	answer, err := s.guest.WaitProcess(ctx, s.waitRequest(id))
	if err == nil {
		return s.processOutcome(answer.GetExit()), nil
	}
	if ctx.Err() != nil {
		if s.process(id) != nil {
			s.tend(func() { s.forgetAtEnd(id) })
		}
		return Outcome{}, err
	}
	if errors.Is(err, fault.NotFound) {
		return Outcome{}, err
	}
	// The container's end is the process's too, and may be told a little later than the loss of the agent.
	select {
	case <-s.ending:
		return Outcome{Code: codeOfCrash, Reason: s.outcome.Reason, Message: "the container has ended", Time: s.outcome.Time}, nil
	case <-time.After(hungAfter):
	case <-ctx.Done():
	}
	return Outcome{}, err
}

// DeleteProcess forgets a process, and what of its output nobody has read. Idempotent.
func (s *Sandbox) DeleteProcess(ctx context.Context, id string) error {
	s.mu.Lock()
	p := s.procs[id]
	delete(s.procs, id)
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	err := s.forget(p)
	if guestErr := s.deleteInGuest(ctx, id); guestErr != nil {
		select {
		case <-s.ending: // and everything in the guest with it
		default:
			err = errors.Join(err, guestErr)
		}
	}
	return err
}

// forget closes what this process has of a process that is no longer listed.
func (s *Sandbox) forget(p *execProcess) error {
	p.unwanted.Stop()
	s.mu.Lock()
	close(p.deleted)
	err := p.close()
	for _, client := range p.clients { // nobody attaches any more
		_ = client.Close()
	}
	s.mu.Unlock()
	p.attached.Wait()
	return err
}

// forgetAll forgets every process, and takes no more.
func (s *Sandbox) forgetAll() {
	s.mu.Lock()
	all := s.procs
	s.procs = nil
	s.mu.Unlock()
	for id, p := range all {
		if err := s.forget(p); err != nil {
			s.env.Logger.Debug("cannot close the streams of a process", "process", id, "error", err)
		}
	}
	s.tending.Wait()
}

func (s *Sandbox) deleteInGuest(ctx context.Context, id string) error {
	_, err := s.guest.DeleteProcess(ctx, &guestv1.DeleteProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: id})
	return err
}

// AttachProcess prepares to join a caller's connection to one stream of an exec process: 0 is stdin, 1 stdout, 2 stderr. Join does it, once, until either ends. The
// connection is closed when the process is forgotten, at the latest.
func (s *Sandbox) AttachProcess(id string, stream int, conn net.Conn) (join func() error, err error) {
	if stream < 0 || stream > 2 {
		return nil, fmt.Errorf("a process has no stream %d", stream)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.procs[id]
	if p == nil {
		return nil, noProcess(id)
	}
	p.attached.Add(1)
	p.clients = append(p.clients, conn)
	return func() error {
		defer p.attached.Done()
		if err := p.join(stream, conn); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}, nil
}

func (p *execProcess) join(stream int, conn net.Conn) error {
	select {
	case <-p.opened:
	case <-p.deleted:
		return nil
	}
	out := p.streams.stdout
	switch stream {
	case 0:
		if _, err := io.Copy(p.streams.stdin, conn); err != nil {
			return err
		}
		if half, ok := p.streams.stdin.(stdio.WriteCloser); ok {
			return half.CloseWrite()
		}
		return nil
	case 2:
		if out = p.streams.stderr; out == nil { // with a terminal there is none
			return nil
		}
	}
	_, err := io.Copy(conn, out)
	if err != nil {
		_, _ = io.Copy(io.Discard, out) // a client that is gone does not hold the process back
	}
	return err
}

func noProcess(id string) error {
	return &fault.Error{Reason: fault.NotFound, Op: "find process", Subject: id, Cause: errors.New("there is no such process")}
}
