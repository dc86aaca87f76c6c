// Package stdio joins a process's streams to those who watch them: one reader of each output, a log, and any number of attached clients that
// come and go. What the process writes reaches everybody in order, and a reader that is slow holds the process back rather than filling memory.
//
// Start with output.go.
package stdio

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// copyBuffer is what one read of a stream takes, in bytes: half of what the guest sends at once at most. A small one wakes every process on the way more often.
const copyBuffer = 512 << 10

// Output spreads one stream of a process.
type Output struct {
	mu        sync.Mutex
	clients   []*client
	ended     bool
	suspended bool
}

// Attach adds a client, which Output closes at the end of the stream; after it, at once. Before the first byte of the stream greet, if there is one, tells the client
// that it is attached: whoever has heard it misses nothing. A client that cannot be greeted is closed and not attached.
func (o *Output) Attach(conn net.Conn, greet func() error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if greet != nil {
		if err := greet(); err != nil {
			return errors.Join(err, conn.Close())
		}
	}
	if o.ended {
		return conn.Close()
	}
	if o.suspended {
		_ = conn.SetWriteDeadline(past)
	}
	o.clients = append(o.clients, &client{conn: conn})
	return nil
}

// Copy reads the stream until its end. Each piece goes to the log first and then to the clients; one that fails is dropped. An error of the log is returned at the
// end, and does not stop the stream: a full disk must not block a process. An error of src is returned too. Of a suspended output the end of src is not that of the stream: another
// Copy goes on with the next.
func (o *Output) Copy(src io.Reader, log func([]byte) error) error {
	defer func() {
		if !o.isSuspended() {
			o.End()
		}
	}()
	buffer := make([]byte, copyBuffer)
	var logErr error
	o.write(nil)
	for {
		n, err := src.Read(buffer)
		if n > 0 {
			if logErr == nil {
				logErr = log(buffer[:n])
			}
			o.write(buffer[:n])
		}
		if errors.Is(err, io.EOF) {
			return logErr
		}
		if err != nil {
			return errors.Join(err, logErr)
		}
	}
}

// write passes on what clients still wait for, and then p.
func (o *Output) write(p []byte) {
	o.mu.Lock()
	clients := slices.Clone(o.clients)
	o.mu.Unlock()
	for _, c := range clients {
		if err := c.write(p); err != nil {
			o.drop(c)
		}
	}
}

func (o *Output) drop(dropped *client) {
	o.mu.Lock()
	o.clients = slices.DeleteFunc(o.clients, func(c *client) bool { return c == dropped })
	o.mu.Unlock()
	_ = dropped.conn.Close() // it failed already
}

// Suspend has Copy wait for no client any more, so that all of the stream reaches the log soon; what clients have not read is kept for them. The end of the stream that Copy reads ends
// nothing from now on.
func (o *Output) Suspend() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.suspended = true
	for _, c := range o.clients {
		_ = c.conn.SetWriteDeadline(past) // one that fails is noticed when it is written to
	}
}

// Resume undoes Suspend. If Copy has returned meanwhile, it is to be called again.
func (o *Output) Resume() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.suspended = false
	for _, c := range o.clients {
		_ = c.conn.SetWriteDeadline(time.Time{})
	}
}

func (o *Output) isSuspended() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.suspended
}

// lastWords is how long clients may take to read what was kept for them when the stream ends.
const lastWords = 2 * time.Second

// End ends the stream for everybody attached; Copy does it by itself. It is idempotent.
func (o *Output) End() {
	o.mu.Lock()
	o.ended = true
	clients := o.clients
	o.clients = nil
	o.mu.Unlock()
	var ending sync.WaitGroup
	for _, c := range clients {
		ending.Go(c.end)
	}
	ending.Wait()
}

// client is one who is attached.
type client struct {
	conn net.Conn

	mu   sync.Mutex // held while it is written to
	kept []byte     // that it could not be given
}

// maxKept bounds what is kept for a client that does not read, in bytes: a guest sends no more once its streams are given back, unless it lies.
const maxKept = 8 << 20

// write keeps what cannot be written because the output is suspended.
func (c *client) write(p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) > 0 {
		n, err := c.conn.Write(c.kept)
		c.kept = c.kept[n:]
		if err != nil {
			return c.keep(p, err)
		}
		c.kept = nil
	}
	if len(p) == 0 {
		return nil
	}
	n, err := c.conn.Write(p)
	if err != nil {
		return c.keep(p[n:], err)
	}
	return nil
}

func (c *client) keep(p []byte, err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) || len(c.kept)+len(p) > maxKept {
		return err
	}
	c.kept = append(slices.Clip(c.kept), p...)
	return nil
}

// end gives the client what was kept, and closes it; one who is just being written to does not read.
func (c *client) end() {
	if c.mu.TryLock() {
		defer c.mu.Unlock()
		if len(c.kept) > 0 && c.conn.SetWriteDeadline(time.Now().Add(lastWords)) == nil {
			_, _ = c.conn.Write(c.kept) // what it does not read it has missed
		}
	}
	_ = c.conn.Close()
}

// past is a deadline that ends a write under way.
var past = time.Unix(1, 0)
