package reap

import (
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// quiet is while nothing tells Run of ends.
type quiet struct {
	mu      sync.Mutex
	wanted  int       // how many want it
	since   time.Time // zero: it is not quiet, though some may want it still
	handler action
	look    *time.Timer   // has Run look for ends; nil: nobody has wanted it yet
	waiting bool          // look is to come
	most    time.Duration // quietFor; tests have others
}

// action is the kernel's struct sigaction, as rt_sigaction(2) has it. Zero is what the kernel does by itself: of the end of a process it tells nobody, and keeps it for who asks.
type action [4]uint64

// exchangeHandler sets what is done on the end of a process, in all of this process: there is one Reaper that does. Go's runtime is not told, as it would do more than that.
func exchangeHandler(to action) (before action) {
	const setSize = 8
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&to)), uintptr(unsafe.Pointer(&before)), setSize, 0, 0) // which cannot fail
	return before
}

// quietFor is for how long it is quiet at most, and after which Run looks for ends that nobody has told it of. Mostly who has waited for one has told it to others by then: to reap a process takes the kernel longer
// than that.
const quietFor = 10 * time.Millisecond

// Quiet keeps Run from hearing of ends until the function that it returns is called, once, but not for much longer than 10 ms. It is for who waits for a process by its descriptor on the only CPU: a signal wakes two threads of
// Go's runtime, and they take their time before the one who waits.
func (r *Reaper) Quiet() (over func()) {
	q := &r.quiet
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.wanted++; q.since.IsZero() {
		q.since = time.Now()
		q.handler = exchangeHandler(action{})
	}
	switch { // one timer for all, as to make one is dear where the CPU is emulated
	case q.look == nil:
		q.look = time.AfterFunc(q.most, r.look)
	case !q.waiting:
		q.look.Reset(q.most)
	}
	q.waiting = true
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.wanted--; q.wanted == 0 {
			q.end()
		}
	}
}

// look has Run look for ends, and ends what has been quiet for too long.
func (r *Reaper) look() {
	q := &r.quiet
	q.mu.Lock()
	defer q.mu.Unlock()
	if left := q.most - time.Since(q.since); !q.since.IsZero() && left > 0 { // it has begun since the timer was set
		q.look.Reset(left)
	} else {
		q.end()
		q.waiting = false
	}
	select {
	case r.signals <- unix.SIGCHLD:
	default: // it is to look anyway
	}
}

// end is with the lock held.
func (q *quiet) end() {
	if !q.since.IsZero() {
		q.since = time.Time{}
		exchangeHandler(q.handler)
	}
}
