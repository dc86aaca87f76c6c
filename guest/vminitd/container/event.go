package container

// Event is the end of a process.
type Event struct {
	Container, Process string
	Exit               Exit
}

// maxPending is how many events may wait for a watcher. One that falls further behind is cut off: it then knows that it missed something.
const maxPending = 256

// Watch returns what happens from now on. The channel is closed when the runtime closes or the watcher does not keep up; stop releases it.
func (r *Runtime) Watch() (events <-chan Event, stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := make(chan Event, maxPending)
	if r.closed {
		close(w)
		return w, func() {}
	}
	r.watchers[w] = struct{}{}
	return w, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, w)
	}
}

func (r *Runtime) publish(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.watchers {
		select {
		case w <- e:
		default:
			delete(r.watchers, w)
			close(w)
		}
	}
}
