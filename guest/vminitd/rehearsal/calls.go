package rehearsal

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vzctl/vzctl/guest/unary"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
)

// client makes gRPC calls over one connection, any number at a time. It says what the host's client says: a library's client would make the program larger by a third.
type client struct {
	conn   io.ReadWriteCloser
	framer *http2.Framer
	ended  chan struct{} // closed when the connection is

	mu      sync.Mutex // held to write, and of all that follows
	headers bytes.Buffer
	encoder *hpack.Encoder
	next    uint32
	waiting map[uint32]*answer
	lost    error // why there are no more answers
}

// answer is what comes to one call.
type answer struct {
	id   uint32
	body []byte
	err  error
	came chan struct{} // has one when there is more of the body
	done chan struct{}
}

// window is the host's.
const window = 1 << 20

// maxHeaders bounds the headers of an answer, in bytes.
const maxHeaders = 64 << 10

// maxFrame is what one frame of a request holds, in bytes. Ours need no other, nor the server's word that it has room.
const maxFrame = 16 << 10

// newClient owns the connection from now on.
func newClient(conn io.ReadWriteCloser) (*client, error) {
	c := &client{conn: conn, framer: http2.NewFramer(conn, conn), ended: make(chan struct{}), next: 1, waiting: map[uint32]*answer{}}
	c.encoder = hpack.NewEncoder(&c.headers)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.MaxHeaderListSize = maxHeaders
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	err := c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}, http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHeaders})
	if err == nil {
		err = c.framer.WriteWindowUpdate(0, window-(1<<16-1)) // RFC 9113, 6.9.2
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go func() {
		defer close(c.ended)
		c.lose(c.read())
	}()
	return c, nil
}

func (c *client) close() {
	_ = c.conn.Close()
	<-c.ended
}

func (c *client) lose(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = err
	for id, a := range c.waiting {
		c.finish(id, a, err)
	}
}

func (c *client) finish(id uint32, a *answer, err error) {
	a.err = err
	delete(c.waiting, id)
	close(a.done)
}

// call makes a unary call and fills response.
func (c *client) call(ctx context.Context, method string, request, response proto.Message) error {
	a, err := c.ask(method, request)
	if err == nil {
		err = c.part(ctx, a, response)
	}
	if err == nil {
		err = c.end(ctx, a)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// part fills response with the next message of an answer.
func (c *client) part(ctx context.Context, a *answer, response proto.Message) error {
	for {
		c.mu.Lock()
		body, ended := a.body, c.waiting[a.id] != a
		if size := uint64(len(body)); size >= 5 && uint64(binary.BigEndian.Uint32(body[1:5])) <= size-5 {
			body, a.body = body[5:], body[5+binary.BigEndian.Uint32(body[1:5]):]
			c.mu.Unlock()
			return proto.Unmarshal(body[:len(body)-len(a.body)], response)
		}
		c.mu.Unlock()
		if ended {
			return cmp.Or(a.err, io.ErrUnexpectedEOF)
		}
		select {
		case <-a.came:
		case <-a.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// end waits for the end of an answer.
func (c *client) end(ctx context.Context, a *answer) error {
	select {
	case <-a.done:
		return a.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// callTime is what the calls of a host have left that gives them two minutes.
const callTime = 2*time.Minute - time.Millisecond

func (c *client) ask(method string, request proto.Message) (*answer, error) {
	body, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	message := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...) // not compressed
	if len(message) > maxFrame {
		return nil, fmt.Errorf("the request has %d bytes", len(body))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost != nil {
		return nil, c.lost
	}
	c.headers.Reset()
	if err := unary.WriteFields(c.encoder, method, callTime); err != nil {
		return nil, err
	}
	id, a := c.next, &answer{id: c.next, came: make(chan struct{}, 1), done: make(chan struct{})}
	c.next += 2
	c.waiting[id] = a
	err = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.headers.Bytes(), EndHeaders: true})
	if err == nil {
		err = c.framer.WriteData(id, true, message)
	}
	return a, err
}

// read takes the server's frames until the connection ends.
func (c *client) read() error {
	for {
		frame, err := c.framer.ReadFrame()
		if err == nil {
			err = c.take(frame)
		}
		if err != nil {
			return err
		}
	}
}

func (c *client) take(frame http2.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := frame.Header().StreamID
	a := c.waiting[id]
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return c.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.framer.WritePing(true, f.Data)
		}
	case *http2.DataFrame:
		if a != nil {
			a.body = append(a.body, f.Data()...)
			select {
			case a.came <- struct{}{}:
			default:
			}
		}
	case *http2.MetaHeadersFrame:
		if a != nil && f.StreamEnded() {
			c.finish(id, a, unary.Status(f))
		}
	case *http2.RSTStreamFrame:
		if a != nil {
			c.finish(id, a, fmt.Errorf("reset: %v", f.ErrCode))
		}
	}
	return nil
}
