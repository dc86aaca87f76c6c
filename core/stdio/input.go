package stdio

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// WriteCloser is the process's end of an input: a connection that can be half-closed.
type WriteCloser interface {
	io.Writer
	CloseWrite() error
	SetWriteDeadline(t time.Time) error
}

// Input collects what clients send to one stream of a process. Clients may come before the stream is there, and wait while it is suspended.
type Input struct {
	writing sync.Mutex // held while the target is written to

	mu     sync.Mutex
	opened chan struct{} // closed while there is a target that takes input
	target WriteCloser
	sent   uint64 // to the target, in bytes
	closed bool
}

// NewInput returns an input without a stream yet.
func NewInput() *Input { return &Input{opened: make(chan struct{})} }

// Open says where input goes. It is called once, and again after each Suspend.
func (in *Input) Open(target WriteCloser) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.target, in.sent = target, 0
	close(in.opened)
	if in.closed {
		return target.CloseWrite()
	}
	return nil
}

// Suspend stops input, where there is any, and returns how much its stream was sent, and whether its end was, too. Clients wait from now on, until Open, or Reopen.
func (in *Input) Suspend() (sent uint64, ended bool) {
	in.mu.Lock()
	select {
	case <-in.opened:
		in.opened = make(chan struct{})
		_ = in.target.SetWriteDeadline(past) // a target that is gone takes nothing anyway
	default:
	}
	ended = in.closed
	in.mu.Unlock()
	in.writing.Lock()
	defer in.writing.Unlock()
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.sent, ended
}

// Reopen lets input go on to the stream that it was suspended on.
func (in *Input) Reopen() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.target == nil {
		return nil
	}
	select {
	case <-in.opened:
		return nil
	default:
	}
	close(in.opened)
	err := in.target.SetWriteDeadline(time.Time{})
	if in.closed { // perhaps since it was suspended
		err = errors.Join(err, in.target.CloseWrite())
	}
	return err
}

// Ended says whether the process's input has ended.
func (in *Input) Ended() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.closed
}

// Close ends the process's input, at Open if there is no stream now. It is idempotent.
func (in *Input) Close() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil
	}
	in.closed = true
	select {
	case <-in.opened:
		return in.target.CloseWrite()
	default:
		return nil
	}
}

// Copy passes on what a client sends until it ends, or ctx does while there is no stream. With closeAfter the process's input ends with it.
func (in *Input) Copy(ctx context.Context, client io.Reader, closeAfter bool) error {
	if err := in.await(ctx); err != nil {
		return err
	}
	_, err := io.CopyBuffer(writer{ctx, in}, onlyReader{client}, make([]byte, copyBuffer))
	if errors.Is(err, errInputClosed) {
		err = nil
	}
	if closeAfter {
		err = errors.Join(err, in.Close())
	}
	return err
}

// await returns when there is a stream.
func (in *Input) await(ctx context.Context) error {
	in.mu.Lock()
	opened := in.opened
	in.mu.Unlock()
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errInputClosed = errors.New("the process's input has ended")

// onlyReader hides WriterTo, so that every client's pieces pass through writer.
type onlyReader struct{ io.Reader }

// writer refuses to write behind the end; pieces of several clients do not mix within a write.
type writer struct {
	ctx context.Context
	in  *Input
}

func (w writer) Write(p []byte) (written int, err error) {
	for written < len(p) {
		if err := w.in.await(w.ctx); err != nil {
			return written, err
		}
		n, err := w.in.write(p[written:])
		if written += n; err != nil {
			return written, err
		}
	}
	return written, nil
}

// write writes as much as it can before the input is suspended.
func (in *Input) write(p []byte) (int, error) {
	in.writing.Lock()
	defer in.writing.Unlock()
	in.mu.Lock()
	closed, target, opened := in.closed, in.target, in.opened
	in.mu.Unlock()
	select {
	case <-opened:
	default:
		return 0, nil // suspended meanwhile
	}
	if closed {
		return 0, errInputClosed
	}
	n, err := target.Write(p)
	in.mu.Lock()
	in.sent += uint64(n)
	in.mu.Unlock()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return n, err
}
