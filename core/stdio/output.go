// Package stdio joins a process's streams to those who watch them: one reader of each output, a log, and any number of attached clients that
// come and go. What the process writes reaches everybody in order, and a reader that is slow holds the process back rather than filling memory.
//
// Start with output.go.
package stdio

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
)

// copyBuffer is what one read of a stream takes, in bytes: as much as the guest sends at once. A small one wakes every process on the way more often.
const copyBuffer = 512 << 10

// Output spreads one stream of a process.
type Output struct {
	mu      sync.Mutex
	clients []net.Conn
	ended   bool
}

// Attach adds a client, which Output closes at the end of the stream; after it, at once. Before the first byte of the stream greet, if there is one, tells the client
// that it is attached: whoever has heard it misses nothing. A client that cannot be greeted is closed and not attached.
func (o *Output) Attach(client net.Conn, greet func() error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if greet != nil {
		if err := greet(); err != nil {
			return errors.Join(err, client.Close())
		}
	}
	if o.ended {
		return client.Close()
	}
	o.clients = append(o.clients, client)
	return nil
}

// Copy reads the stream until its end. Each piece goes to the log first and then to the clients; one that fails is dropped. An error of the log is returned at the
// end, and does not stop the stream: a full disk must not block a process. An error of src is returned too.
func (o *Output) Copy(src io.Reader, log func([]byte) error) error {
	defer o.End()
	buffer := make([]byte, copyBuffer)
	var logErr error
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

func (o *Output) write(p []byte) {
	o.mu.Lock()
	clients := slices.Clone(o.clients)
	o.mu.Unlock()
	for _, client := range clients {
		if _, err := client.Write(p); err != nil {
			o.drop(client)
		}
	}
}

func (o *Output) drop(client net.Conn) {
	o.mu.Lock()
	o.clients = slices.DeleteFunc(o.clients, func(c net.Conn) bool { return c == client })
	o.mu.Unlock()
	_ = client.Close() // it failed already
}

// End ends the stream for everybody attached; Copy does it by itself. It is idempotent.
func (o *Output) End() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	for _, client := range o.clients {
		_ = client.Close() // nothing is buffered on this side
	}
	o.clients = nil
}
