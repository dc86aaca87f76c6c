package container

import (
	"fmt"
	"os"
)

// Event is the end of a process, or that the kernel has killed some of the container for want of memory.
type Event struct {
	Container, Process string
	OutOfMemory        bool // and there is no Exit
	Exit               Exit
}

// maxPending is how many events may wait for a watcher. One that falls further behind is cut off: it then knows that it missed something.
const maxPending = 256

// Watch returns what happens from now on, of the ends of processes only if they are wanted. The channel is closed when the runtime closes or the watcher does not keep up; stop releases it.
func (r *Runtime) Watch(ends bool) (events <-chan Event, stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := make(chan Event, maxPending)
	if r.closed {
		close(w)
		return w, func() {}
	}
	r.watchers[w] = ends
	for _, c := range r.containers {
		if c.created {
			c.watchMemory()
		}
	}
	return w, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, w)
	}
}

func (r *Runtime) publish(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w, ends := range r.watchers {
		if !ends && !e.OutOfMemory {
			continue
		}
		select {
		case w <- e:
		default:
			delete(r.watchers, w)
			close(w)
		}
	}
}

// watchMemory has it be told when the kernel kills processes of the container for want of memory. That begins with the first watcher: before there is one it would
// be work for nobody. With the runtime's lock held.
func (c *Container) watchMemory() {
	if c.memory != nil || c.deleting != nil {
		return
	}
	stop, err := c.group.WatchOOM(func() {
		c.oomKills(true)
		c.runtime.publish(Event{Container: c.id, OutOfMemory: true})
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "vminitd: nobody will be told of memory that container %s lacks: %v\n", c.id, err)
		return
	}
	c.memory = stop
}

// oomKills is how many processes of the container the kernel has killed for want of memory: now, or as far as the watch for it knows (watchMemory), if there is one, which hears of them a moment later.
func (c *Container) oomKills(now bool) uint64 {
	if !now {
		c.runtime.mu.Lock()
		now = c.memory == nil
		c.runtime.mu.Unlock()
	}
	if now {
		for read, known := c.group.OOMKills(), c.kills.Load(); read > known && !c.kills.CompareAndSwap(known, read); {
			known = c.kills.Load()
		}
	}
	return c.kills.Load()
}
