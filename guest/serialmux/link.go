package serialmux

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// The frames of yamux: version, type, flags (2), stream (4), length (4), all big endian; after a data frame length bytes.
const (
	headerLength = 12

	typeData   = 0
	typeWindow = 1
	typePing   = 2
	typeGoAway = 3

	flagSYN = 1
	flagFIN = 4
	flagRST = 8
)

const (
	// maxStreams bounds the streams of a session, and with the window the memory a peer can make us hold.
	maxStreams = 256
	// maxQueued bounds the bytes that wait for a peer which does not read. Windows bound them first, unless the peer lies about its windows.
	maxQueued = 16 << 20
	// maxKept is how much of a queue that was written is kept for the next. To fault in new memory each time costs half the throughput in a guest.
	maxKept = 4 << 20
	// MaxFrame bounds the body of a frame, in bytes.
	MaxFrame = 1 << 20
	// maxWritten bounds the body of a frame that is written with Write: what a reader takes at once.
	maxWritten = 64 << 10
)

// firstRoom is what yamux has room for on a stream before it says more.
const firstRoom = 256 << 10

var errPeerRestarted = errors.New("serialmux: the other end began a new session")

type header [headerLength]byte

func (h *header) kind() byte     { return h[1] }
func (h *header) flags() uint16  { return binary.BigEndian.Uint16(h[2:]) }
func (h *header) stream() uint32 { return binary.BigEndian.Uint32(h[4:]) }
func (h *header) length() uint32 { return binary.BigEndian.Uint32(h[8:]) }

func resetFrame(stream uint32) header { return windowFrame(stream, flagRST, 0) }

func dataFrame(stream uint32, length int) (h header) {
	h[1] = typeData
	binary.BigEndian.PutUint32(h[4:], stream)
	binary.BigEndian.PutUint32(h[8:], uint32(length))
	return h
}

func windowFrame(stream uint32, flags uint16, more uint32) (h header) {
	h[1] = typeWindow
	binary.BigEndian.PutUint16(h[2:], flags)
	binary.BigEndian.PutUint32(h[4:], stream)
	binary.BigEndian.PutUint32(h[8:], more)
	return h
}

// streamState is what the link knows of a stream from the frames that passed.
type streamState struct {
	finIn, finOut bool
	reset         bool          // by either side; what had arrived is void
	closed        bool          // no one reads any more: data resets the stream
	inbox         inbox         // what arrived
	gone          func()        // called once, when the stream is gone; may be nil
	wake          func()        // ends what waits in yamux; may be nil
	broken        chan struct{} // closed when the stream is reset or its session ends
	room          int64         // bytes that the peer has room for
	grown         chan struct{} // has a token when there may be more room than before
}

func newStreamState() *streamState {
	return &streamState{broken: make(chan struct{}), inbox: newInbox(), room: firstRoom, grown: make(chan struct{}, 1)}
}

// grow is with the link's lock held.
func (s *streamState) grow(by uint32) {
	s.room += int64(by)
	select {
	case s.grown <- struct{}{}:
	default:
	}
}

// link is the connection yamux is given. Reading and writing go on at once; one goroutine each. yamux reads no data from it: they go into the inboxes of the
// streams, see receive.go.
type link struct {
	pipe   io.ReadWriteCloser
	reader *bufio.Reader
	odd    uint32 // stream & 1 of the streams the peer opens

	// Of the reading side.
	head    header
	pending []byte // of a header not yet given to yamux

	mu       sync.Mutex
	streams  map[uint32]*streamState
	inject   []uint32 // streams to reset locally, at the next frame that arrives
	queue    []byte   // frames, of the first perhaps only what is still to be written
	resets   []uint32 // streams to tell the peer of after the next frame: they are reset
	updates  []uint32 // the same: there is room for more
	spare    [][]byte // memory for bodies
	small    []byte   // memory for small ones to share
	err      error
	changed  *sync.Cond
	finished chan struct{} // closed when the writer has ended

	now     func([]byte) (int, error) // writes what can be written to the pipe without waiting; nil: that cannot be known
	writing sync.Mutex                // held by who writes to the pipe
	free    []byte                    // of the one who is writing: memory for the next queue
}

func newLink(pipe io.ReadWriteCloser, reader *bufio.Reader, peerOdd bool) *link {
	l := &link{pipe: pipe, reader: reader, now: now(pipe), streams: map[uint32]*streamState{}, finished: make(chan struct{})}
	if peerOdd {
		l.odd = 1
	}
	l.changed = sync.NewCond(&l.mu)
	go l.writeQueued()
	return l
}

// Read gives yamux the frames of the peer that are fit for it.
func (l *link) Read(p []byte) (int, error) {
	n, err := l.read(p)
	if err != nil {
		l.fail(err)
	}
	return n, err
}

func (l *link) read(p []byte) (int, error) {
	for len(l.pending) == 0 {
		if l.nextInjected() {
			break
		}
		if err := l.nextFrame(); err != nil {
			return 0, err
		}
	}
	n := copy(p, l.pending)
	l.pending = l.pending[n:]
	return n, nil
}

// nextInjected makes the reset of a stream that was asked for here look like one of the peer.
func (l *link) nextInjected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.inject) == 0 {
		return false
	}
	l.head = resetFrame(l.inject[0])
	l.inject = l.inject[1:]
	l.pending = l.head[:]
	return true
}

// nextFrame reads a header and decides what becomes of its frame.
func (l *link) nextFrame() error {
	if _, err := io.ReadFull(l.reader, l.head[:1]); err != nil {
		return err
	}
	switch l.head[0] {
	case 0: // yamux's version
	case helloByte:
		return errPeerRestarted
	default:
		return fmt.Errorf("serialmux: the other end sent no frame, but byte %#x", l.head[0])
	}
	if _, err := io.ReadFull(l.reader, l.head[1:]); err != nil {
		return fmt.Errorf("serialmux: read a frame: %w", err)
	}
	if length := l.head.length(); l.head.kind() == typeData && length > 0 {
		if length > MaxFrame {
			return fmt.Errorf("serialmux: the other end sent a frame of %d bytes", length)
		}
		return l.receiveBody(int(length))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	pass, err := l.judge()
	if pass {
		l.pending = l.head[:]
	}
	return err
}

// judge looks at a frame of the peer, with the lock held: whether yamux sees it.
func (l *link) judge() (pass bool, err error) {
	h := &l.head
	switch h.kind() {
	case typePing:
		return false, nil // we never ask, and an answer costs a goroutine
	case typeData, typeWindow:
	default:
		return true, nil // yamux ends the session
	}
	if l.err != nil {
		return false, l.err // a stream that it opened now nobody would end
	}
	id, flags := h.stream(), h.flags()
	state := l.streams[id]
	if flags&flagSYN != 0 {
		if id&1 != l.odd || id == 0 {
			return false, fmt.Errorf("serialmux: the other end opened stream %d, which is not its to open", id)
		}
		if state != nil {
			return false, fmt.Errorf("serialmux: the other end opened stream %d twice", id)
		}
		if len(l.streams) >= maxStreams {
			l.queueReset(id)
			return false, nil
		}
		state = newStreamState()
		l.streams[id] = state
	}
	if state == nil {
		return false, nil // of a stream that was reset here
	}
	if state.closed && h.kind() == typeData && h.length() > 0 {
		l.resetBoth(id)
		return false, nil
	}
	if h.kind() == typeWindow {
		state.grow(h.length())
	}
	switch {
	case flags&flagRST != 0:
		l.dropReset(id)
	case flags&flagFIN != 0:
		state.finIn = true
		state.inbox.wake()
		if state.finOut {
			l.drop(id)
		}
	}
	return true, nil
}

// drop forgets a stream; with the lock held.
func (l *link) drop(id uint32) {
	state := l.streams[id]
	delete(l.streams, id)
	if state != nil && state.gone != nil {
		state.gone()
		state.gone = nil
	}
}

// dropBroken forgets a stream that did not end properly; with the lock held.
func (l *link) dropBroken(id uint32) {
	if state := l.streams[id]; state != nil {
		close(state.broken)
	}
	l.drop(id)
}

// dropReset forgets a stream that was reset, and what had arrived on it; with the lock held.
func (l *link) dropReset(id uint32) {
	if state := l.streams[id]; state != nil {
		state.reset, state.inbox.chunks = true, nil
	}
	l.dropBroken(id)
}

// fail ends all streams. It wakes those who wait in yamux, because that, once it has closed its session, lets each of them spin until it has come to
// their stream, and with hundreds of them it hardly ever does.
func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = err
	for id, state := range l.streams {
		if state.wake != nil {
			state.wake()
		}
		l.dropBroken(id)
	}
	l.changed.Broadcast()
}

// Close ends the link and waits for its goroutine. Called by yamux.
func (l *link) Close() error {
	l.fail(io.ErrClosedPipe)
	err := l.pipe.Close()
	<-l.finished
	return err
}

// markClosed notes that nobody reads the stream any more. The first data that still arrive reset it.
func (l *link) markClosed(id uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if state := l.streams[id]; state != nil {
		state.closed = true
	}
}

// reset ends a stream at both ends at once.
func (l *link) reset(id uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resetBoth(id)
}

// resetBoth resets a stream there and here; with the lock held.
func (l *link) resetBoth(id uint32) {
	if l.streams[id] == nil {
		return
	}
	l.queueReset(id)
	l.dropReset(id)
	l.inject = append(l.inject, id)
}

// lookup returns the state of a stream, with a function that ends what waits for the stream. If the stream is gone already, the state is that of a
// broken one.
func (l *link) lookup(id uint32, wake func()) *streamState {
	l.mu.Lock()
	defer l.mu.Unlock()
	if state := l.streams[id]; state != nil {
		state.wake = wake
		return state
	}
	wake()
	state := newStreamState()
	close(state.broken)
	return state
}

// whenGone calls f, which must not block, when the stream is gone: at once if it is already.
func (l *link) whenGone(id uint32, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if state := l.streams[id]; state != nil && l.err == nil {
		state.gone = f
		return
	}
	f()
}

// cause returns why the link ended, or nil.
func (l *link) cause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
