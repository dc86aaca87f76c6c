package vm

import (
	"context"
	"io"
	"sync"
)

// gate is before the host's end of the guest's serial port. While it is shut nobody connects, but waits. Its zero value is open.
type gate struct {
	mu      sync.Mutex
	opened  chan struct{} // nil: open; otherwise closed when it opens
	present io.Closer     // the latest connection
}

// through returns connect behind the gate.
func (g *gate) through(connect func(context.Context) (io.ReadWriteCloser, error)) func(context.Context) (io.ReadWriteCloser, error) {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		for {
			g.mu.Lock()
			opened := g.opened
			g.mu.Unlock()
			if opened != nil {
				select {
				case <-opened:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			pipe, err := connect(ctx)
			if err != nil {
				return nil, err
			}
			if g.pass(pipe) {
				return pipe, nil
			}
			_ = pipe.Close() // it was shut meanwhile
		}
	}
}

func (g *gate) pass(pipe io.Closer) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		return false
	}
	g.present = pipe
	return true
}

// shut ends the present connection, and lets no other through. It reports whether there ever was one.
func (g *gate) shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
	if g.present == nil {
		return false
	}
	_ = g.present.Close()
	g.present = nil
	return true
}

// open lets connections through. Idempotent.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}
