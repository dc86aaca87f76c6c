package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

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
	deleted  chan struct{} // closed by DeleteProcess
	attached sync.WaitGroup
	clients  []net.Conn
}

// CreateProcess prepares a process and opens its streams. Nobody attaches to a detached one, or deletes it.
func (s *Sandbox) CreateProcess(ctx context.Context, ociProcess []byte, user string, terminal, detached bool) (id string, err error) {
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
			return "", errors.Join(err, s.deleteInGuest(ctx, id))
		}
	}
	s.mu.Lock()
	s.procs[id] = p
	s.mu.Unlock()
	return id, nil
}

// open opens the streams of a process; a terminal's once it runs.
func (s *Sandbox) open(ctx context.Context, id string, p *execProcess) (err error) {
	p.streams, err = openStreams(ctx, s.guest, s.spec.ContainerID, id, p.terminal)
	if err == nil {
		close(p.opened)
	}
	return err
}

// StartProcess runs a created process.
func (s *Sandbox) StartProcess(ctx context.Context, id string) error {
	s.mu.Lock()
	p := s.procs[id]
	s.mu.Unlock()
	if p == nil {
		return noProcess(id)
	}
	_, err := s.guest.StartProcess(ctx, &guestv1.StartProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: id})
	if err == nil && p.terminal {
		err = s.open(ctx, id, p)
	}
	switch {
	case err == nil && p.detached:
		go s.drainDetached(id, p)
	case p.detached:
		if deleteErr := s.DeleteProcess(context.WithoutCancel(ctx), id); deleteErr != nil {
			err = errors.Join(err, deleteErr)
		}
	}
	return err
}

// drainDetached lets a detached process run to its end, and forgets it. Everything here ends with the sandbox at the latest.
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
	if _, err := s.WaitProcess(context.Background(), id); err == nil {
		drained.Wait()
	}
	if err := s.DeleteProcess(context.Background(), id); err != nil {
		s.env.Logger.Debug("cannot forget a process", "process", id, "error", err)
	}
}

// WaitProcess returns how a process ended.
func (s *Sandbox) WaitProcess(ctx context.Context, id string) (Outcome, error) {
	answer, err := s.guest.WaitProcess(ctx, &guestv1.WaitProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: id})
	if err != nil {
		select {
		case <-s.stopped:
			// The container's end is the process's too.
			return Outcome{Code: codeOfCrash, Reason: s.outcome.Reason, Message: "the container has ended", Time: s.outcome.Time}, nil
		default:
			return Outcome{}, err
		}
	}
	return s.processOutcome(answer.GetExit()), nil
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
	close(p.deleted)
	var err error
	select {
	case <-p.opened:
		err = p.streams.close()
	default:
	}
	for _, client := range p.clients { // nobody attaches any more
		_ = client.Close()
	}
	p.attached.Wait()
	return errors.Join(err, s.deleteInGuest(ctx, id))
}

func (s *Sandbox) deleteInGuest(ctx context.Context, id string) error {
	_, err := s.guest.DeleteProcess(ctx, &guestv1.DeleteProcessRequest{ContainerId: s.spec.ContainerID, ProcessId: id})
	return err
}

// AttachProcess joins a caller's connection to one stream of an exec process until either ends. 0 is stdin, 1 stdout, 2 stderr. The connection is closed
// by DeleteProcess at the latest.
func (s *Sandbox) AttachProcess(id string, stream int, conn net.Conn) error {
	s.mu.Lock()
	p := s.procs[id]
	if p == nil {
		s.mu.Unlock()
		return noProcess(id)
	}
	p.attached.Add(1)
	p.clients = append(p.clients, conn)
	s.mu.Unlock()
	defer p.attached.Done()
	select {
	case <-p.opened:
	case <-p.deleted:
		return nil
	}
	var err error
	switch {
	case stream == 0:
		if _, err = io.Copy(p.streams.stdin, conn); err == nil {
			if half, ok := p.streams.stdin.(stdio.WriteCloser); ok {
				err = half.CloseWrite()
			}
		}
	case stream == 1:
		_, err = io.Copy(conn, p.streams.stdout)
	case stream == 2 && p.streams.stderr != nil:
		_, err = io.Copy(conn, p.streams.stderr)
	case stream == 2: // with a terminal there is none
	default:
		err = fmt.Errorf("process has no stream %d", stream)
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func noProcess(id string) error {
	return &fault.Error{Reason: fault.NotFound, Op: "find process", Subject: id, Cause: errors.New("there is no such process")}
}
