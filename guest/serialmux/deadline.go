package serialmux

import (
	"sync"
	"time"
)

// deadline is a time at which a channel closes. It can be set again before and after.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer   // nil if none runs
	over  chan struct{} // nil until someone needs it
}

// passed is closed when the deadline that is set now has passed.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.channel()
}

func (d *deadline) channel() chan struct{} {
	if d.over == nil {
		d.over = make(chan struct{})
	}
	return d.over
}

// set changes it; the zero time is never. Who waits for a deadline that has not passed waits for the new one.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	over := d.channel()
	if d.timer != nil && !d.timer.Stop() {
		<-over // its function runs, or has run
	}
	d.timer = nil
	if isClosed(over) {
		d.over = make(chan struct{})
		over = d.over
	}
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		close(over)
		return
	}
	d.timer = time.AfterFunc(wait, func() { close(over) })
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
