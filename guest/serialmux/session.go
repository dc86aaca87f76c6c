package serialmux

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"
)

// ErrSessionLost is what ends a connection whose session ended first. It is an ECONNRESET to errors.Is.
var ErrSessionLost error = sessionLost{}

type sessionLost struct{}

func (sessionLost) Error() string {
	return "serialmux: connection to the other end of the serial port lost"
}
func (sessionLost) Is(target error) bool { return target == syscall.ECONNRESET }

// The first bytes of a stream: a version and the port; the answer is one byte.
const (
	openVersion = 1
	openLength  = 5

	answerOK      = 0
	answerRefused = 1
)

// maxOpening bounds the streams that wait for their answer; below the backlog, so that opening never blocks in yamux.
const (
	maxOpening = 128
	backlog    = 256
)

// Session is one life of the multiplexer between host and guest. It ends when either side loses the pipe.
type Session struct {
	link    *link
	mux     *yamux.Session
	opening chan struct{}
	handle  func(*Request)
	work    sync.WaitGroup // the accepting goroutine and handlers
}

// Host greets the guest behind pipe, which it owns from now on, and returns when the guest has answered or ctx ends. handle is called in its own
// goroutine for each connection the guest asks for; nil refuses them all.
func Host(ctx context.Context, pipe io.ReadWriteCloser, handle func(*Request)) (*Session, error) {
	return newSession(ctx, pipe, bufio.NewReaderSize(pipe, readAhead), greetGuest, true, handle)
}

// guestSession waits for the host. reader is of pipe.
func guestSession(ctx context.Context, pipe io.ReadWriteCloser, reader *bufio.Reader, handle func(*Request)) (*Session, error) {
	return newSession(ctx, pipe, reader, greetHost, false, handle)
}

// readAhead is what is read from the pipe at once, in bytes, unless it is the rest of a body.
const readAhead = 64 << 10

type greeting func(context.Context, io.ReadWriteCloser, *bufio.Reader) error

func newSession(ctx context.Context, pipe io.ReadWriteCloser, reader *bufio.Reader, greet greeting, host bool, handle func(*Request)) (*Session, error) {
	if err := greet(ctx, pipe, reader); err != nil {
		_ = pipe.Close()
		return nil, err
	}
	s := &Session{opening: make(chan struct{}, maxOpening), handle: handle}
	s.link = newLink(pipe, reader, !host) // yamux's client opens odd streams, and the host is the client
	open := yamux.Server
	if host {
		open = yamux.Client
	}
	var err error
	if s.mux, err = open(s.link, configuration()); err != nil {
		_ = s.link.Close()
		return nil, fmt.Errorf("serialmux: %w", err)
	}
	s.work.Add(1)
	go s.accept()
	return s, nil
}

// configuration turns off everything in yamux that measures time: a paused VM answers nothing for as long as it likes, and a half-closed
// connection may live as long as its session.
func configuration() *yamux.Config {
	c := yamux.DefaultConfig()
	c.AcceptBacklog = backlog
	c.EnableKeepAlive = false
	c.ConnectionWriteTimeout = math.MaxInt64
	c.StreamOpenTimeout = 0
	c.StreamCloseTimeout = 0
	c.MaxStreamWindowSize = window
	c.LogOutput, c.Logger = nil, log.New(io.Discard, "", 0) // it logs what a hostile peer makes it log
	return c
}

// window is how much a stream holds for a reader that does not read, which is told of when half of it has been read: so that one half is on its way while the other is read. In an emulated guest each
// change between a process and vminitd empties QEMU's tables of translations, which is why larger frames move more. Measured: frames of 256 KiB and a window of 512 KiB, 270 MB/s; twice both, 315; four times both,
// no more; later, with pipes that hold their bytes in larger pages, frames of 512 KiB 350 and of up to 1 MiB 390, with twice the window no more.
const window = 1 << 20

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.mux.CloseChan() }

// Err says why the session ended; nil while it has not.
func (s *Session) Err() error { return s.link.cause() }

// Close ends the session and its connections, and waits for the handlers.
func (s *Session) Close() error {
	s.link.fail(io.ErrClosedPipe) // before yamux's end, see there
	err := s.mux.Close()
	s.work.Wait()
	return err
}

// Dial connects to a port of the other end and waits until someone there has taken the connection. A port where no one listens gives an error that
// is ECONNREFUSED.
func (s *Session) Dial(ctx context.Context, port uint32) (*Conn, error) {
	conn, err := s.dial(ctx, port)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: Addr(port), Err: err}
	}
	return conn, nil
}

func (s *Session) dial(ctx context.Context, port uint32) (*Conn, error) {
	select {
	case s.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.Done():
		return nil, ErrSessionLost
	}
	stream, err := s.mux.OpenStream()
	if err != nil {
		<-s.opening
		return nil, ErrSessionLost
	}
	conn := newConn(s, stream, port)
	answered, err := conn.ask(ctx, port)
	if answered {
		<-s.opening
	} else {
		s.link.whenGone(stream.StreamID(), func() { <-s.opening })
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// ask sends the port and waits for the answer.
func (c *Conn) ask(ctx context.Context, port uint32) (answered bool, err error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err() // its deadline may be set after us
		}
	}()
	open := binary.BigEndian.AppendUint32([]byte{openVersion}, port)
	if _, err := c.Write(open); err != nil {
		return false, dialError(ctx, err)
	}
	var answer [1]byte
	if _, err := c.Read(answer[:]); err != nil {
		return false, dialError(ctx, err)
	}
	if answer[0] != answerOK {
		return true, syscall.ECONNREFUSED
	}
	return true, nil
}

func dialError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF):
		return syscall.ECONNREFUSED
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// Request is a connection that the other end asks for. Exactly one of its methods is called.
type Request struct {
	// Port is what was asked for; any value.
	Port uint32
	conn *Conn
}

// Accept takes the connection.
func (r *Request) Accept() (*Conn, error) {
	if _, err := r.conn.Write([]byte{answerOK}); err != nil {
		_ = r.conn.Close()
		return nil, err
	}
	return r.conn, nil
}

// Refuse answers that no one listens.
func (r *Request) Refuse() {
	_, _ = r.conn.Write([]byte{answerRefused})
	_ = r.conn.Close()
}

// accept hands each new stream to a goroutine of its own, so that none waits for another.
func (s *Session) accept() {
	defer s.work.Done()
	for {
		stream, err := s.mux.AcceptStream()
		if err != nil {
			return
		}
		s.work.Add(1)
		go s.receive(stream)
	}
}

// receive reads what a new stream wants.
func (s *Session) receive(stream *yamux.Stream) {
	defer s.work.Done()
	conn := newConn(s, stream, 0)
	var open [openLength]byte
	if _, err := io.ReadFull(conn, open[:]); err != nil || open[0] != openVersion {
		conn.Reset()
		return
	}
	conn.port = binary.BigEndian.Uint32(open[1:])
	request := &Request{Port: conn.port, conn: conn}
	if s.handle == nil {
		request.Refuse()
		return
	}
	s.handle(request)
}
