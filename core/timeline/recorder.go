package timeline

import (
	"context"
	"sync"
	"time"
)

// Recorder collects spans of one process. Its methods may be called by many at once.
type Recorder struct {
	zero time.Time

	mu    sync.Mutex
	spans []Span
}

// NewRecorder returns a recorder of what happens from now on.
func NewRecorder() *Recorder { return &Recorder{zero: time.Now()} }

type key struct{}

// With returns a context under which Begin records.
func With(ctx context.Context, r *Recorder) context.Context { return context.WithValue(ctx, key{}, r) }

// Recorded reports whether Begin records under ctx.
func Recorded(ctx context.Context) bool { return ctx.Value(key{}) != nil }

// Begin begins a span of the command, a part of within unless that is "", and returns what ends it. Without a recorder in ctx it does nothing.
func Begin(ctx context.Context, name, within string) (end func()) {
	r, _ := ctx.Value(key{}).(*Recorder)
	if r == nil {
		return func() {}
	}
	begun := time.Now()
	return func() { r.Add(name, Command, within, begun, time.Since(begun)) }
}

// Add records what was measured elsewhere. A moment of another process, which came through its clock alone, is as exact as the host's clock is steady.
func (r *Recorder) Add(name, where, within string, begun time.Time, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = append(r.spans, Span{Name: name, Where: where, Within: within, Begin: r.Since(begun), Duration: max(took, 0)})
}

// Since returns when a moment was, counted from the beginning.
func (r *Recorder) Since(moment time.Time) time.Duration { return moment.Sub(r.zero) }

// Spans returns what was recorded until now.
func (r *Recorder) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Span(nil), r.spans...)
}
