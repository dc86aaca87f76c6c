package serialmux

import "fmt"

// Write queues what yamux writes: headers of frames that have no body. Data go past it, see writeData.
func (l *link) Write(p []byte) (int, error) {
	l.mu.Lock()
	for len(l.queue) > maxQueued && l.err == nil {
		l.changed.Wait()
	}
	if l.err != nil {
		defer l.mu.Unlock()
		return 0, l.err
	}
	l.queue = append(l.queue, p...)
	l.sent(header(p))
	l.frameQueued()
	l.mu.Unlock()
	l.flush()
	return len(p), nil
}

// writeData writes a frame with what the peer has room for.
func (l *link) writeData(state *streamState, stream uint32, p []byte) error {
	l.mu.Lock()
	if err := l.unfit(state); err != nil { // the peer knows nothing of a stream that was reset meanwhile
		defer l.mu.Unlock()
		return err
	}
	h := dataFrame(stream, len(p))
	l.queue = append(append(l.queue, h[:]...), p...)
	l.frameQueued()
	l.mu.Unlock()
	l.flush()
	return nil
}

// maxFlushed is how much may be queued, in bytes, for one who does not wait to write it: what is left each time is moved to the front.
const maxFlushed = 256 << 10

// flush writes what is queued, as far as that can be done without waiting, and leaves the rest to the goroutine that writes: to wake that costs an emulated guest as much as to write a small frame.
func (l *link) flush() {
	l.mu.Lock()
	short := len(l.queue) <= maxFlushed
	l.mu.Unlock()
	if short && l.now != nil && l.writing.TryLock() {
		_ = l.writeBatch(l.now) // an error has ended the link
		l.writing.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 { // also if somebody else is writing, who may not look again
		l.changed.Broadcast()
	}
}

// sent notes what a header of yamux's does to its stream; with the lock held.
func (l *link) sent(h header) {
	if h.kind() != typeData && h.kind() != typeWindow {
		return
	}
	id, flags := h.stream(), h.flags()
	if flags&flagSYN != 0 {
		l.state(id)
	}
	if state := l.streams[id]; state != nil {
		if h.kind() == typeWindow {
			state.inbox.allowed += int64(h.length())
		}
		if flags&flagFIN != 0 {
			state.finOut = true
			if state.finIn {
				l.drop(id)
			}
		}
	}
	if flags&flagRST != 0 {
		l.dropReset(id)
	}
}

func (l *link) state(id uint32) *streamState {
	state := l.streams[id]
	if state == nil {
		state = newStreamState()
		l.streams[id] = state
	}
	return state
}

// frameQueued lets the writer have the queue, up to its end; with the lock held.
func (l *link) frameQueued() {
	for _, id := range l.resets {
		frame := resetFrame(id)
		l.queue = append(l.queue, frame[:]...)
	}
	l.resets = l.resets[:0]
	for _, id := range l.updates {
		if frame, wanted := l.update(id); wanted {
			l.queue = append(l.queue, frame[:]...)
		}
	}
	l.updates = l.updates[:0]
}

// queueReset tells the peer that a stream is reset; with the lock held.
func (l *link) queueReset(id uint32) {
	if len(l.resets) >= maxStreams {
		return // a peer that opens streams faster than it reads answers does not get them all
	}
	l.resets = append(l.resets, id)
	l.queueControl()
}

// queueControl queues what the peer is to be told of streams, unless too much is queued: it follows that. With the lock held.
func (l *link) queueControl() {
	if len(l.queue) <= maxQueued {
		l.frameQueued()
		l.changed.Broadcast()
	}
}

// writeQueued is the goroutine that writes, until the link ends.
func (l *link) writeQueued() {
	defer close(l.finished)
	for {
		l.mu.Lock()
		for len(l.queue) == 0 && l.err == nil {
			l.changed.Wait()
		}
		ended := l.err != nil
		l.mu.Unlock()
		if ended {
			return
		}
		l.writing.Lock()
		err := l.writeBatch(l.pipe.Write)
		l.writing.Unlock()
		if err != nil {
			return
		}
	}
}

// writeBatch writes what is queued, or as much of it as write does without an error; by the holder of writing.
func (l *link) writeBatch(write func([]byte) (int, error)) error {
	l.mu.Lock()
	if l.err != nil || len(l.queue) == 0 {
		defer l.mu.Unlock()
		return l.err
	}
	batch := l.queue
	l.queue = l.free[:0]
	if len(l.resets)+len(l.updates) > 0 {
		l.queueControl()
	}
	l.mu.Unlock()
	n, err := write(batch)
	if err != nil {
		return l.failWrite(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < len(batch) { // what was queued meanwhile follows the rest
		l.queue = append(batch[:copy(batch, batch[n:])], l.queue...)
		l.free = nil
	} else if l.free = batch; cap(l.free) > maxKept {
		l.free = nil
	}
	if len(batch) > maxQueued && len(l.queue) <= maxQueued {
		for _, state := range l.streams {
			state.grow(0)
		}
	}
	l.changed.Broadcast()
	return nil
}

// failWrite ends the link because of an error of the pipe, which it returns.
func (l *link) failWrite(err error) error {
	err = fmt.Errorf("serialmux: write: %w", err)
	l.fail(err)
	_ = l.pipe.Close() // wakes the reader
	return err
}
