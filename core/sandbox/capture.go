package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// captureEnd bounds what it takes to kill and forget a process whose time is up.
	captureEnd = 10 * time.Second
	// lastOutput is how long what a process has written may take once it has ended. What it has started may keep its output open for ever.
	lastOutput = time.Second
)

// Capture runs a further process of the container to its end, without input, and returns how it ended and the beginning of what it wrote to both streams, limit bytes at most. When
// ctx ends first the process is killed, and the error is ctx's cause; what it has written is returned all the same.
func (s *Sandbox) Capture(ctx context.Context, ociProcess []byte, user string, limit int) (Outcome, []byte, error) {
	id, err := s.CreateProcess(ProcessRequest{OCIProcess: ociProcess, User: user, NoInput: true})
	if err != nil {
		return Outcome{}, nil, s.captured(ctx, err)
	}
	defer s.deleteQuietly(id)
	p := s.process(id)
	if p == nil {
		return Outcome{}, nil, errEnded
	}
	if err := s.StartProcess(ctx, id); err != nil {
		return Outcome{}, nil, s.captured(ctx, err)
	}
	s.waits(p)
	out := &beginning{limit: limit}
	if p.brief != nil {
		_, _ = out.Write(p.brief.GetStdout()) // never fails
		_, _ = out.Write(p.brief.GetStderr())
		return s.processOutcome(p.brief.GetExit()), out.bytes(), s.captured(ctx, nil)
	}
	drained := make(chan struct{})
	var copies sync.WaitGroup
	for _, stream := range []net.Conn{p.streams.stdout, p.streams.stderr} {
		copies.Go(func() { _, _ = io.Copy(out, stream) }) // the end of the process, or of the VM, is an end
	}
	go func() { copies.Wait(); close(drained) }()
	answer, err := s.guest.WaitProcess(ctx, s.waitRequest(id))
	if err != nil {
		killing, cancel := context.WithTimeout(context.WithoutCancel(ctx), captureEnd)
		defer cancel()
		if killErr := s.Signal(killing, id, sigkill); killErr != nil && !ended(killErr) {
			s.env.Logger.Warn("cannot kill a process whose time is up", "process", id, "error", killErr)
		}
		return Outcome{}, out.bytes(), s.captured(ctx, err)
	}
	select {
	case <-drained:
	case <-time.After(lastOutput):
	case <-ctx.Done():
	}
	return s.processOutcome(answer.GetExit()), out.bytes(), s.captured(ctx, nil)
}

// captured says why a process could not be run to its end: the end of the container is what matters most, then that of ctx.
func (s *Sandbox) captured(ctx context.Context, err error) error {
	select {
	case <-s.ending:
		return errEnded
	default:
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, errSaving) {
		return context.Cause(ctx)
	}
	return err
}

// beginning keeps the first bytes of what is written to it, and takes the rest.
type beginning struct {
	mu    sync.Mutex
	limit int
	kept  []byte
}

func (b *beginning) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = append(b.kept, p[:min(len(p), b.limit-len(b.kept))]...)
	return len(p), nil
}

func (b *beginning) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept
}
