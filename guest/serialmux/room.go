package serialmux

import (
	"os"

	"github.com/hashicorp/yamux"
)

// reserve waits until the other end has room, and takes it, up to most bytes.
func (c *Conn) reserve(most int) (int, error) {
	for {
		if err := c.ended(); err != nil {
			return 0, err
		}
		if n, err := c.session.link.reserve(c.state, most); n > 0 || err != nil {
			return n, err
		}
		select {
		case <-c.state.grown:
		case <-c.state.broken: // reserve knows why
		case <-c.writeDeadline.passed():
			if err := c.ended(); err != nil {
				return 0, err
			}
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// reserve takes up to most bytes of what the peer has room for; 0 if that is nothing, or too much is queued.
func (l *link) reserve(state *streamState, most int) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.unfit(state); err != nil {
		return 0, err
	}
	if len(l.queue) > maxQueued {
		return 0, nil // writeBatch tells when it is shorter
	}
	n := min(state.room, int64(most))
	if state.room -= n; state.room > 0 {
		state.grow(0) // another writer
	}
	return int(n), nil
}

func (l *link) giveBack(state *streamState, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	state.room += int64(n)
	state.grow(0) // another writer
}

// unfit says why nothing can be sent on a stream; with the lock held.
func (l *link) unfit(state *streamState) error {
	switch {
	case l.err != nil:
		return ErrSessionLost
	case isClosed(state.broken):
		return yamux.ErrConnectionReset
	case state.finOut:
		return yamux.ErrStreamClosed
	}
	return nil
}
