// Package qmp speaks QEMU's monitor protocol over a connection that is there already. It has commands and events and knows nothing of what they mean.
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// maxMessage bounds one message of QEMU.
const maxMessage = 1 << 20

// ErrClosed says that QEMU has closed its monitor, mostly because it has ended.
var ErrClosed = errors.New("QEMU's monitor is closed")

// Event is something QEMU tells unasked.
type Event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// Client is one monitor. Its methods may be called at once.
type Client struct {
	conn io.ReadWriteCloser
	done chan struct{} // closed when reading has ended

	writing sync.Mutex

	mu      sync.Mutex
	next    uint64
	waiting map[string]chan message
}

type message struct {
	QMP    json.RawMessage `json:"QMP"`
	ID     string          `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event
}

// Open waits for QEMU's greeting, which comes when its machine is made and, unless it was told otherwise, runs. The client owns conn. events is called
// for each event, in order, and must not block nor call the client. On failure conn is closed.
func Open(ctx context.Context, conn io.ReadWriteCloser, events func(Event)) (*Client, error) {
	c := &Client{conn: conn, done: make(chan struct{}), waiting: map[string]chan message{}}
	greeted := make(chan struct{})
	go c.read(greeted, events)
	select {
	case <-greeted:
	case <-c.done:
		_ = conn.Close()
		return nil, ErrClosed
	case <-ctx.Done():
		_ = c.Close()
		return nil, ctx.Err()
	}
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Attach is Open for a monitor that has greeted somebody before: that of a copy of a QEMU.
func Attach(conn io.ReadWriteCloser, events func(Event)) *Client {
	c := &Client{conn: conn, done: make(chan struct{}), waiting: map[string]chan message{}}
	go c.read(nil, events)
	return c
}

// Done is closed when QEMU has closed the monitor and all events have been given.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close closes the monitor and waits for the last event.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

// GiveFile gives QEMU a descriptor of a file, which its commands then know by a name. The connection has to be a unix socket.
func (c *Client) GiveFile(ctx context.Context, name string, file *os.File) error {
	return c.execute(ctx, "getfd", map[string]string{"fdname": name}, file, nil)
}

// Execute runs a command. arguments may be nil; result, if not nil, is filled in from the answer.
func (c *Client) Execute(ctx context.Context, command string, arguments, result any) error {
	return c.execute(ctx, command, arguments, nil, result)
}

func (c *Client) execute(ctx context.Context, command string, arguments any, file *os.File, result any) error {
	answer := make(chan message, 1)
	c.mu.Lock()
	c.next++
	id := strconv.FormatUint(c.next, 10)
	c.waiting[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
	}()
	if err := c.send(command, id, arguments, file); err != nil {
		return fmt.Errorf("QEMU command %s: %w", command, err)
	}
	var m message
	select {
	case m = <-answer:
	case <-ctx.Done():
		return fmt.Errorf("QEMU command %s: %w", command, ctx.Err())
	case <-c.done:
		select {
		case m = <-answer: // it came first
		default:
			return fmt.Errorf("QEMU command %s: %w", command, ErrClosed)
		}
	}
	if m.Error != nil {
		return fmt.Errorf("QEMU command %s: %s", command, m.Error.Desc)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, result); err != nil {
		return fmt.Errorf("QEMU command %s: read the answer: %w", command, err)
	}
	return nil
}

func (c *Client) send(command, id string, arguments any, file *os.File) error {
	text, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		ID        string `json:"id"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, id, arguments})
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	text = append(text, '\n')
	if file == nil {
		_, err = c.conn.Write(text)
		return err
	}
	socket, ok := c.conn.(*net.UnixConn)
	if !ok {
		return errors.New("descriptors go over unix sockets only")
	}
	_, _, err = socket.WriteMsgUnix(text, unix.UnixRights(int(file.Fd())), nil)
	return err
}

// read is the goroutine that reads, until QEMU closes the monitor or sends what is no message.
func (c *Client) read(greeted chan<- struct{}, events func(Event)) {
	defer close(c.done)
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(nil, maxMessage)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			_ = c.conn.Close()
			return
		}
		switch {
		case m.QMP != nil && greeted != nil:
			close(greeted)
			greeted = nil
		case m.Event.Name != "":
			events(m.Event)
		case m.ID != "":
			c.mu.Lock()
			if answer := c.waiting[m.ID]; answer != nil {
				answer <- m
				delete(c.waiting, m.ID)
			}
			c.mu.Unlock()
		}
	}
}
