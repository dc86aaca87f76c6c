// Package stdio holds the near ends of processes' streams and moves bytes between them and the host's connections. Nothing is gathered here: who
// does not read holds up the process that writes, and no one else.
//
// output.go is guest to host, by pages where there is much, input.go host to guest, pipe.go where both come from.
package stdio

import (
	"errors"
	"net"
	"sync"
	"time"
)

// bufferSize is what one stream moves at a time, in bytes: as much as a pipe holds.
const bufferSize = 64 << 10

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
	mu     sync.Mutex
	conn   Conn
	closed bool
}

// Claim makes the stream conn's, for which the caller then calls Serve.
func (c *claim) Claim(conn Conn) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if c.conn != nil {
		return ErrBusy
	}
	c.conn = conn
	return nil
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
