package usernet

import (
	"context"
	"sync"

	"github.com/vzctl/vzctl/sdk/network"
)

// backlog is how many events wait for a watcher that is slow; what comes then is lost for it.
const backlog = 256

// watchers gives events to all who watch one network. Sending never waits.
type watchers struct {
	mu     sync.Mutex
	closed bool
	all    map[chan network.Event]struct{}
}

func newWatchers() *watchers { return &watchers{all: map[chan network.Event]struct{}{}} }

func (w *watchers) send(e network.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.all {
		select {
		case c <- e:
		default:
		}
	}
}

// watch calls event until ctx ends or close is called.
func (w *watchers) watch(ctx context.Context, event func(network.Event)) error {
	c := make(chan network.Event, backlog)
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.all[c] = struct{}{}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.all, c)
		w.mu.Unlock()
	}()
	for {
		select {
		case e, ok := <-c:
			if !ok {
				return nil
			}
			event(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close ends every watch once it has got what was sent.
func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for c := range w.all {
		close(c)
	}
	w.all = map[chan network.Event]struct{}{}
}
