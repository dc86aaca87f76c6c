package serialmux

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"
)

const network = "serialmux"

// Addr is a port of either end.
type Addr uint32

// Network returns "serialmux".
func (Addr) Network() string { return network }

// String returns the port.
func (a Addr) String() string { return fmt.Sprintf("port %d", uint32(a)) }

// Conn is a connection between host and guest. It behaves as one of TCP: each direction ends by itself, Close with data unread or still coming
// resets it, and what was written before Close arrives.
type Conn struct {
	session *Session
	stream  *yamux.Stream
	state   *streamState
	port    uint32
	closed  atomic.Bool // here
	reset   atomic.Bool // here

	readDeadline  deadline
	writeDeadline deadline // yamux has its own, for what it writes itself
}

func newConn(s *Session, stream *yamux.Stream, port uint32) *Conn {
	wake := func() { _ = stream.SetDeadline(time.Unix(1, 0)) }
	return &Conn{session: s, stream: stream, state: s.link.lookup(stream.StreamID(), wake), port: port}
}

// Write writes; it waits while the other end does not read. Of writes at the same time the pieces may mix.
func (c *Conn) Write(p []byte) (written int, err error) {
	if err := c.ended(); err != nil {
		return 0, c.wrap("write", err)
	}
	for written < len(p) {
		n, err := c.reserve(min(len(p)-written, maxWritten))
		if err == nil {
			err = c.session.link.writeData(c.state, c.stream.StreamID(), p[written:written+n])
		}
		if err != nil {
			return written, c.wrap("write", err)
		}
		written += n
	}
	return written, nil
}

// ended returns the error of a connection that was ended here.
func (c *Conn) ended() error {
	switch {
	case c.reset.Load():
		return syscall.ECONNRESET
	case c.closed.Load():
		return net.ErrClosed
	}
	return nil
}

// wrap gives errors of yamux the meaning of those of package net.
func (c *Conn) wrap(op string, err error) error {
	if ended := c.ended(); ended != nil {
		err = ended
	}
	switch {
	case errors.Is(err, yamux.ErrTimeout) && c.session.Err() != nil:
		err = ErrSessionLost
	case errors.Is(err, yamux.ErrTimeout):
		err = os.ErrDeadlineExceeded
	case errors.Is(err, yamux.ErrConnectionReset):
		err = syscall.ECONNRESET
	case errors.Is(err, yamux.ErrSessionShutdown), errors.Is(err, io.EOF):
		err = ErrSessionLost
	case errors.Is(err, yamux.ErrStreamClosed):
		err = syscall.EPIPE
		if c.session.mux.IsClosed() {
			err = ErrSessionLost
		}
	}
	return &net.OpError{Op: op, Net: network, Addr: Addr(c.port), Err: err}
}

// CloseWrite ends the direction from here to the other end, which reads an end of file.
func (c *Conn) CloseWrite() error {
	if err := c.ended(); err != nil {
		return c.wrap("close", err)
	}
	return c.stream.Close() // which is a half-close, whatever its name
}

// Close ends both directions. What was written arrives; the other end's writes fail from now on.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	id := c.stream.StreamID()
	c.session.link.markClosed(id)
	err := c.stream.Close()
	_ = c.SetDeadline(time.Unix(1, 0)) // wakes those who read and write
	if c.session.link.discard(c.state) {
		c.session.link.reset(id) // the other end may wait for room that will never be
	}
	return err
}

// Reset ends the connection at both ends at once; what is under way is lost.
func (c *Conn) Reset() {
	if c.closed.Load() || c.reset.Swap(true) {
		return
	}
	c.session.link.reset(c.stream.StreamID())
	_ = c.SetDeadline(time.Unix(1, 0)) // wakes those who read and write
}

// Broken is closed when the connection was reset or its session has ended: it tells one who neither reads nor writes. What arrived before the end of a
// session can still be read.
func (c *Conn) Broken() <-chan struct{} { return c.state.broken }

// LocalAddr returns the port, which both ends share.
func (c *Conn) LocalAddr() net.Addr { return Addr(c.port) }

// RemoteAddr returns the port.
func (c *Conn) RemoteAddr() net.Addr { return Addr(c.port) }

// SetDeadline sets the deadlines of reads and writes, also of those under way.
func (c *Conn) SetDeadline(t time.Time) error {
	c.readDeadline.set(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of reads.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readDeadline.set(t)
	return nil
}

// SetWriteDeadline sets the deadline of writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeDeadline.set(t)
	return c.stream.SetWriteDeadline(t)
}
