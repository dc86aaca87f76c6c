package serialmux

import (
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/yamux"
)

const (
	// copied is the longest body that is copied into memory which other bodies share. A longer one has memory of its own, into which it is read from the pipe, and
	// from which Conn.WriteTo writes it: nothing else touches its bytes.
	copied = 16 << 10
	// shared is how much memory bodies that are copied share, in bytes. Without it a peer that sends byte by byte would have us hold many times what it has sent.
	shared = 4 << 10
	// maxSpare is how many buffers of the size of a frame are kept for the next frame.
	maxSpare = 2
)

// chunk is a piece of what arrived on a stream.
type chunk struct {
	memory []byte
	read   int // bytes of it that were taken
}

// inbox holds what arrived on a stream and was not taken yet. The link's lock guards it.
type inbox struct {
	chunks  []chunk       // in order, none of them empty
	arrived chan struct{} // has a token when there may be more than before, or the end
	allowed int64         // bytes that the peer may still send
	owed    int64         // bytes that were taken and that the peer has not been told of
	telling bool          // the peer is to be told
}

func newInbox() inbox { return inbox{arrived: make(chan struct{}, 1), allowed: firstRoom} }

func (b *inbox) wake() {
	select {
	case b.arrived <- struct{}{}:
	default:
	}
}

// put adds a body. One that is copied may be used again by the caller. spare is memory for bodies to share, if there is some.
func (b *inbox) put(body []byte, spare *[]byte) {
	b.allowed -= int64(len(body))
	defer b.wake()
	if len(body) > copied {
		b.chunks = append(b.chunks, chunk{memory: body})
		return
	}
	if last := len(b.chunks) - 1; last >= 0 {
		if memory := b.chunks[last].memory; cap(memory)-len(memory) >= len(body) && len(memory) <= copied {
			b.chunks[last].memory = append(memory, body...)
			return
		}
	}
	var memory []byte
	if len(body) <= cap(*spare) {
		memory, *spare = *spare, nil
	} else {
		memory = make([]byte, 0, max(shared, len(body)))
	}
	b.chunks = append(b.chunks, chunk{memory: append(memory, body...)})
}

// receiveBody reads the body of the data frame whose header was read, and puts it into its stream's inbox. yamux sees of it only what the header says of the stream
// itself.
func (l *link) receiveBody(length int) error {
	var body []byte
	var err error
	own := length > copied
	if own {
		body = l.memoryFor(length)
		_, err = io.ReadFull(l.reader, body)
	} else {
		body, err = l.reader.Peek(length)
	}
	if err != nil {
		return fmt.Errorf("serialmux: read a frame: %w", err)
	}
	if err := l.deliver(body); err != nil {
		return err
	}
	if !own {
		_, err = l.reader.Discard(length)
	}
	return err
}

func (l *link) deliver(body []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	id, flags := l.head.stream(), l.head.flags()
	state := l.streams[id]
	pass, err := l.judge() // after which a stream may be new, or gone
	if err != nil {
		return err
	}
	if !pass {
		return nil
	}
	if flags != 0 {
		l.head = windowFrame(id, flags, 0)
		l.pending = l.head[:]
	}
	if state == nil {
		state = l.streams[id]
	}
	if state == nil || state.reset { // by this frame
		return nil
	}
	if int64(len(body)) > state.inbox.allowed {
		return fmt.Errorf("serialmux: the other end sent %d bytes on stream %d, which has room for %d", len(body), id, state.inbox.allowed)
	}
	state.inbox.put(body, &l.small)
	return nil
}

// memoryFor returns memory for a body.
func (l *link) memoryFor(length int) []byte {
	if length < MaxFrame/2 { // or else a peer would have us hold several times what it sends
		return make([]byte, length)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := len(l.spare) - 1; last >= 0 {
		memory := l.spare[last]
		l.spare = l.spare[:last]
		return memory[:length]
	}
	return make([]byte, length, MaxFrame)
}

// recycle keeps the memory of a body that nobody needs any more; with the lock held.
func (l *link) recycle(memory []byte) {
	switch {
	case cap(memory) == MaxFrame && len(l.spare) < maxSpare:
		l.spare = append(l.spare, memory[:0])
	case cap(memory) == shared: // or else each small request of a peer takes new pages of the kernel, until there is so much garbage that it is collected
		l.small = memory[:0]
	}
}

// take moves what arrived into p. It returns 0 and no error if there is nothing yet.
func (l *link) take(id uint32, state *streamState, p []byte) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	box := &state.inbox
	for n < len(p) && len(box.chunks) > 0 {
		first := &box.chunks[0]
		taken := copy(p[n:], first.memory[first.read:])
		n += taken
		if first.read += taken; first.read == len(first.memory) {
			l.recycle(box.first().memory)
		}
	}
	if n == 0 {
		return 0, l.noMore(state)
	}
	if len(box.chunks) > 0 {
		box.wake() // another reader
	}
	l.taken(id, state, n)
	return n, nil
}

// first takes the first chunk out.
func (b *inbox) first() chunk {
	first := b.chunks[0]
	b.chunks[0] = chunk{}
	if b.chunks = b.chunks[1:]; len(b.chunks) == 0 {
		b.chunks = nil
	}
	return first
}

// takeChunk takes what arrived first; nothing, without an error, if there is nothing yet.
func (l *link) takeChunk(id uint32, state *streamState) (chunk, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(state.inbox.chunks) == 0 {
		return chunk{}, l.noMore(state)
	}
	first := state.inbox.first()
	l.taken(id, state, len(first.memory)-first.read)
	return first, nil
}

// used is called when a chunk that was taken is not needed any more.
func (l *link) used(c chunk) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recycle(c.memory)
}

// noMore says why nothing will arrive any more, or nil; with the lock held.
func (l *link) noMore(state *streamState) error {
	switch {
	case state.reset:
		return yamux.ErrConnectionReset
	case state.finIn:
		state.inbox.wake() // another reader
		return io.EOF
	case isClosed(state.broken):
		return ErrSessionLost
	}
	return nil
}

// taken gives the peer room for n bytes that are not held any more; with the lock held. It is told when that is half of what a stream holds.
func (l *link) taken(id uint32, state *streamState, n int) {
	box := &state.inbox
	box.owed += int64(n)
	if box.telling || box.owed < window/2 || state.finIn || l.streams[id] != state {
		return
	}
	box.telling = true
	l.updates = append(l.updates, id)
	l.queueControl()
}

// update is the frame that tells the peer of its room, unless the stream has gone; with the lock held.
func (l *link) update(id uint32) (h header, wanted bool) {
	state := l.streams[id]
	if state == nil {
		return h, false
	}
	box := &state.inbox
	room := box.owed // never more than a stream holds
	box.owed, box.telling = 0, false
	box.allowed += room
	return windowFrame(id, 0, uint32(room)), true
}

// discard forgets what arrived and reports whether that was anything.
func (l *link) discard(state *streamState) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	unread := len(state.inbox.chunks) > 0
	state.inbox.chunks = nil
	return unread
}

// Read reads what the other end wrote; io.EOF only after the other end's Close or CloseWrite.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if err := c.ended(); err != nil {
			return 0, c.wrap("read", err)
		}
		n, err := c.session.link.take(c.stream.StreamID(), c.state, p)
		if n > 0 {
			return n, nil
		}
		if err == nil {
			err = c.awaitMore()
		}
		if err == io.EOF {
			return 0, io.EOF
		}
		if err != nil {
			return 0, c.wrap("read", err)
		}
	}
}

// WriteTo writes to w what the other end wrote, until its Close or CloseWrite, and makes no copy of what came in large frames. As a Read does, it gives
// the other end room for what w is about to be given. An error is that of w as it is, or one of Read.
func (c *Conn) WriteTo(w io.Writer) (written int64, err error) {
	link, id := c.session.link, c.stream.StreamID()
	for {
		if err := c.ended(); err != nil {
			return written, c.wrap("read", err)
		}
		piece, err := link.takeChunk(id, c.state)
		if len(piece.memory) > 0 {
			n, err := w.Write(piece.memory[piece.read:])
			link.used(piece)
			if written += int64(n); err != nil {
				return written, err
			}
			continue
		}
		if err == nil {
			err = c.awaitMore()
		}
		if err == io.EOF {
			return written, nil
		}
		if err != nil {
			return written, c.wrap("read", err)
		}
	}
}

// awaitMore waits until there may be something to read, or nothing ever again.
func (c *Conn) awaitMore() error {
	select {
	case <-c.state.inbox.arrived:
	case <-c.state.broken: // noMore knows why
	case <-c.readDeadline.passed():
		if c.ended() == nil {
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}
