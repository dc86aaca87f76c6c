// Package phase measures what parts of a call of the host took, by the monotonic clock, for the host to draw. Parts follow each other; a call that nobody
// watches costs nothing.
package phase

import (
	"context"
	"sync"
	"time"
)

// Most is how many phases of one call are kept.
const Most = 32

// Phase is one part. Begin counts from the beginning of the call.
type Phase struct {
	Name            string
	Begin, Duration time.Duration
}

// Watch measures one call.
type Watch struct {
	begun time.Time

	mu     sync.Mutex
	last   time.Duration
	phases []Phase
}

type key struct{}

// Watched begins to measure, if that is wanted; otherwise the watch is nil. What is done under the context it returns says with Done what it was.
func Watched(ctx context.Context, wanted bool) (context.Context, *Watch) {
	if !wanted {
		return ctx, nil
	}
	w := &Watch{begun: time.Now()} // setting the clock does not change what has passed since
	return context.WithValue(ctx, key{}, w), w
}

// Done names what was done since the last Done, or since the beginning of the call.
func Done(ctx context.Context, name string) {
	w, _ := ctx.Value(key{}).(*Watch)
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Since(w.begun)
	if len(w.phases) < Most {
		w.phases = append(w.phases, Phase{Name: name, Begin: w.last, Duration: now - w.last})
	}
	w.last = now
}

// Phases returns what was measured until now.
func (w *Watch) Phases() []Phase {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Phase(nil), w.phases...)
}
