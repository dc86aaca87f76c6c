package serialmux

import "fmt"

// Write queues what yamux writes: a header, then the body of its frame.
func (l *link) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) > maxQueued && l.err == nil {
		l.changed.Wait()
	}
	if l.err != nil {
		return 0, l.err
	}
	l.queue = append(l.queue, p...)
	if l.partial > 0 {
		l.partial -= len(p)
	} else {
		l.partial = l.sent(header(p))
	}
	if l.partial == 0 {
		l.frameQueued()
	}
	return len(p), nil
}

// sent notes what a header of ours does to its stream and returns the length of the frame's body; with the lock held.
func (l *link) sent(h header) int {
	if h.kind() != typeData && h.kind() != typeWindow {
		return 0
	}
	id, flags := h.stream(), h.flags()
	if flags&flagSYN != 0 {
		l.state(id)
	}
	if state := l.streams[id]; state != nil {
		if h.kind() == typeData {
			state.room -= int64(h.length())
		}
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
	if h.kind() == typeData {
		return int(h.length())
	}
	return 0
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
	l.whole = len(l.queue)
	l.changed.Broadcast()
}

// queueReset tells the peer that a stream is reset; with the lock held.
func (l *link) queueReset(id uint32) {
	if len(l.resets) >= maxStreams {
		return // a peer that opens streams faster than it reads answers does not get them all
	}
	l.resets = append(l.resets, id)
	l.queueControl()
}

// queueControl queues what the peer is to be told of streams, unless a frame is being queued or too much is: it follows that. With the lock held.
func (l *link) queueControl() {
	if l.partial == 0 && len(l.queue) <= maxQueued {
		l.frameQueued()
	}
}

// writeQueued is the goroutine that writes, until the link ends.
func (l *link) writeQueued() {
	defer close(l.finished)
	for {
		l.mu.Lock()
		for l.whole == 0 && l.err == nil {
			l.changed.Wait()
		}
		ended := l.err != nil
		l.mu.Unlock()
		if ended {
			return
		}
		l.writing.Lock()
		err := l.writeBatch()
		l.writing.Unlock()
		if err != nil {
			return
		}
	}
}

// writeBatch writes what is queued; by the holder of writing.
func (l *link) writeBatch() error {
	l.mu.Lock()
	if l.err != nil || l.whole == 0 {
		defer l.mu.Unlock()
		return l.err
	}
	batch, rest := l.queue[:l.whole], l.queue[l.whole:]
	l.queue, l.whole = append(l.free[:0], rest...), 0
	if len(l.resets)+len(l.updates) > 0 {
		l.queueControl()
	}
	l.changed.Broadcast()
	l.mu.Unlock()
	if _, err := l.pipe.Write(batch); err != nil {
		return l.failWrite(err)
	}
	if l.free = batch; cap(l.free) > maxKept {
		l.free = nil
	}
	return nil
}

// failWrite ends the link because of an error of the pipe, which it returns.
func (l *link) failWrite(err error) error {
	err = fmt.Errorf("serialmux: write: %w", err)
	l.fail(err)
	_ = l.pipe.Close() // wakes the reader
	return err
}
