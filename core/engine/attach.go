package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/vzctl/vzctl/core/supervisor"
)

// attachment is the caller's end of a process's streams.
type attachment struct {
	stdin, stdout, stderr net.Conn // nil: not connected
	outputs               sync.WaitGroup
	mu                    sync.Mutex
	err                   error // of writing to the caller
}

// attach opens the streams the caller has. Nothing is copied yet.
func attach(ctx context.Context, s *supervisor.Client, process string, streams Streams, closeStdin bool) (*attachment, error) {
	a := &attachment{}
	for _, stream := range []struct {
		wanted bool
		kind   supervisor.Stream
		conn   *net.Conn
	}{
		{streams.Stdout != nil, supervisor.Stdout, &a.stdout},
		{streams.Stderr != nil, supervisor.Stderr, &a.stderr},
		// A process whose caller has no input knows it already.
		{streams.Stdin != nil, supervisor.Stdin, &a.stdin},
	} {
		if !stream.wanted {
			continue
		}
		conn, err := s.OpenStream(ctx, process, stream.kind, closeStdin)
		if err != nil {
			return nil, errors.Join(err, a.close())
		}
		*stream.conn = conn
	}
	return a, nil
}

// begin copies until the streams end.
func (a *attachment) begin(streams Streams) {
	a.output(streams.Stdout, a.stdout)
	a.output(streams.Stderr, a.stderr)
	if a.stdin == nil {
		return
	}
	// Not waited for: a read of the caller's stdin cannot be interrupted.
	go func() {
		if streams.Stdin != nil {
			_, _ = io.Copy(a.stdin, streams.Stdin) // a process that does not read its input is no error
		}
		if half, ok := a.stdin.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // nor is one that has ended
		}
	}()
}

func (a *attachment) output(to io.Writer, conn net.Conn) {
	if conn == nil {
		return
	}
	a.outputs.Go(func() {
		if _, err := io.Copy(to, conn); err != nil && !errors.Is(err, net.ErrClosed) {
			a.mu.Lock()
			a.err = errors.Join(a.err, err)
			a.mu.Unlock()
			_ = conn.Close() // so that the process is not held back by one who cannot write
		}
	})
}

// wait returns when all output has been written, or ctx ends.
func (a *attachment) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = a.close() })
	defer stop()
	a.outputs.Wait()
	if ctx.Err() != nil {
		if context.Cause(ctx) == ErrDetached {
			return ErrDetached
		}
		return ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

func (a *attachment) close() error {
	var errs []error
	for _, conn := range []net.Conn{a.stdin, a.stdout, a.stderr} {
		if conn == nil {
			continue
		}
		if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func forwardSizes(ctx context.Context, s *supervisor.Client, process string, sizes <-chan WindowSize) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			_ = s.Resize(ctx, process, uint32(size.Width), uint32(size.Height)) // a process that has just ended has no size
		case <-ctx.Done():
			return
		}
	}
}

// outlast waits until all output of a process is written, and returns how it ended. That is asked from the beginning: whoever writes slowly may
// be done long after the supervisor has gone, and a container that is removed at its end is on no record then.
func outlast(ctx context.Context, s *supervisor.Client, process string, attached *attachment, streams Streams,
	end func(context.Context) (Exit, error)) (exit Exit, err error) {
	var beside sync.WaitGroup
	defer beside.Wait()
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	beside.Go(func() {
		select {
		case <-streams.Detach:
			leave(ErrDetached)
		case <-waiting.Done():
		}
	})
	beside.Go(func() { forwardSizes(waiting, s, process, streams.Resize) })
	known := make(chan struct{})
	beside.Go(func() {
		defer close(known)
		exit, err = end(waiting)
	})
	if err := attached.wait(ctx); err != nil {
		cancel()
		<-known
		return Exit{}, err
	}
	<-known
	return exit, err
}
