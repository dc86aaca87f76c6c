package stdio

import (
	"context"
	"errors"
	"io"
	"sync"
)

// WriteCloser is the process's end of an input: a connection that can be half-closed.
type WriteCloser interface {
	io.Writer
	CloseWrite() error
}

// Input collects what clients send to one stream of a process. Clients may come before the stream is there.
type Input struct {
	opened chan struct{} // closed by Open

	mu     sync.Mutex
	target WriteCloser
	closed bool
}

// NewInput returns an input without a stream yet.
func NewInput() *Input { return &Input{opened: make(chan struct{})} }

// Open says where input goes. It is called once.
func (in *Input) Open(target WriteCloser) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.target = target
	close(in.opened)
	if in.closed {
		return target.CloseWrite()
	}
	return nil
}

// Close ends the process's input, at Open if there is no stream yet. It is idempotent.
func (in *Input) Close() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil
	}
	in.closed = true
	if in.target == nil {
		return nil
	}
	return in.target.CloseWrite()
}

// Copy passes on what a client sends until it ends, or ctx does before there is a stream. With closeAfter the process's input ends with it.
func (in *Input) Copy(ctx context.Context, client io.Reader, closeAfter bool) error {
	select {
	case <-in.opened:
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := io.CopyBuffer(writer{in}, onlyReader{client}, make([]byte, copyBuffer))
	if errors.Is(err, errInputClosed) {
		err = nil
	}
	if closeAfter {
		err = errors.Join(err, in.Close())
	}
	return err
}

var errInputClosed = errors.New("the process's input has ended")

// onlyReader hides WriterTo, so that every client's pieces pass through writer.
type onlyReader struct{ io.Reader }

// writer refuses to write behind the end; pieces of several clients do not mix within a write.
type writer struct{ in *Input }

func (w writer) Write(p []byte) (int, error) {
	w.in.mu.Lock()
	closed, target := w.in.closed, w.in.target
	w.in.mu.Unlock()
	if closed {
		return 0, errInputClosed
	}
	return target.Write(p)
}
