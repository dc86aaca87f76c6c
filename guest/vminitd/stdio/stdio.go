// Package stdio holds the near ends of processes' streams and moves bytes between them and the host's connections. Nothing is gathered here: who
// does not read holds up the process that writes, and no one else.
//
// output.go is guest to host, by pages where there is much, rest.go what is told without a connection, input.go and feed.go host to guest, pipe.go where both come from.
//
// A stream can be suspended: its connection gives it back without losing a byte, so that the machine can be saved. The next connection goes on.
package stdio

import (
	"errors"
	"net"
	"sync"
	"time"
)

// bufferSize is what one stream moves at a time, in bytes: as much as a pipe holds.
const bufferSize = 64 << 10

// buffers are kept, of bufferSize: new memory costs a guest more than what is done with it.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Errors for a host that asks for a stream.
var (
	ErrBusy   = errors.New("stream is open already")
	ErrClosed = errors.New("stream has ended")
)

// Conn is a connection of the host. Each direction can end by itself.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// claim makes a stream one connection's at a time.
type claim struct {
	mu        sync.Mutex
	conn      Conn
	had       bool // by a connection, at any time
	closed    bool
	suspended bool          // conn is to give the stream back
	free      chan struct{} // closed when conn has
}

// take makes the stream conn's, for which the caller then calls Serve; begin prepares the stream.
func (c *claim) take(conn Conn, begin func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if c.conn != nil {
		return ErrBusy
	}
	c.conn, c.had, c.suspended, c.free = conn, true, false, make(chan struct{})
	begin()
	return nil
}

// suspend has the connection, if there is one, give the stream back; how, ask says. The result is closed when it has.
func (c *claim) suspend(ask func(Conn)) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return closed
	}
	c.suspended = true
	ask(c.conn)
	return c.free
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Freed is closed once no connection has the stream that has it now.
func (c *claim) Freed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return closed
	}
	return c.free
}

// isSuspended reports whether the connection gives the stream back because it was asked to.
func (c *claim) isSuspended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.suspended
}

// Break ends the connection that has the stream as if it were lost.
func (c *claim) Break() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.SetDeadline(past)
		_ = c.conn.Close()
	}
}

// holds reports whether the stream is conn's.
func (c *claim) holds(conn Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn == conn
}

// release gives the stream back; ended: for good.
func (c *claim) release(ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		close(c.free)
	}
	c.conn = nil
	c.closed = c.closed || ended
}

// close ends the stream; a connection that has it is woken.
func (c *claim) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn != nil {
		_ = c.conn.SetDeadline(past)
	}
}

// past is a deadline that ends a read or write under way.
var past = time.Unix(1, 0)
