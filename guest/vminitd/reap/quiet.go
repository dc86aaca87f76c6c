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
	wanted  int // how many want it
	handler action
}

// action is the kernel's struct sigaction, as rt_sigaction(2) has it. Zero is what the kernel does by itself: of the end of a process it tells nobody, and keeps it for who asks.
type action [4]uint64

// exchangeHandler sets what is done on the end of a process, in all of this process: there is one Reaper that does. Go's runtime is not told, as it would do more than that.
func exchangeHandler(to action) (before action) {
	const setSize = 8
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&to)), uintptr(unsafe.Pointer(&before)), setSize, 0, 0) // which cannot fail
	return before
}

// later is how long after it has been quiet Run looks for ends. Meanwhile who has waited for one can tell it to others: to reap a process takes the kernel longer than that.
const later = 5 * time.Millisecond

// Quiet keeps Run from hearing of ends until the function that it returns is called, but not for longer than most; soon after, it looks for them. It is for who waits for a process by its descriptor on the only CPU: a signal
// wakes two threads of Go's runtime, and they take their time before the one who waits.
func (r *Reaper) Quiet(most time.Duration) (over func()) {
	r.quiet.mu.Lock()
	if r.quiet.wanted++; r.quiet.wanted == 1 {
		r.quiet.handler = exchangeHandler(action{})
	}
	r.quiet.mu.Unlock()
	end := sync.OnceFunc(func() {
		r.quiet.mu.Lock()
		defer r.quiet.mu.Unlock()
		if r.quiet.wanted--; r.quiet.wanted == 0 {
			exchangeHandler(r.quiet.handler)
		}
	})
	timer := time.AfterFunc(most, func() {
		end()
		select {
		case r.signals <- unix.SIGCHLD:
		default: // it is to look anyway
		}
	})
	return func() {
		end()
		timer.Reset(later)
	}
}
