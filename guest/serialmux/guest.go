package serialmux

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
)

// Opener opens the guest's end of the pipe and returns when a host is connected to it. Closing the result discards what was not read.
type Opener func(ctx context.Context) (io.ReadWriteCloser, error)

// Guest is the guest's end. Listeners and calls to Dial outlive the sessions, which follow one another: a host may go and come again, as it
// does around a restore. Listen first and then Serve, so that the first connection of a host finds its listener.
type Guest struct {
	open Opener

	mu        sync.Mutex
	listeners map[uint32]*Listener
	session   *Session      // nil between sessions
	began     chan struct{} // closed when a session begins; new one when it ends
}

// NewGuest returns a guest that has no listeners yet.
func NewGuest(open Opener) *Guest {
	return &Guest{open: open, listeners: map[uint32]*Listener{}, began: make(chan struct{})}
}

// Serve runs one session after another until ctx ends, whose error it returns, or the pipe cannot be opened.
func (g *Guest) Serve(ctx context.Context) error {
	for {
		if err := g.serveOne(ctx); err != nil {
			return err
		}
	}
}

func (g *Guest) serveOne(ctx context.Context) error {
	reader := bufio.NewReaderSize(nil, readAhead) // now, as a VM may be cloned when its port is open
	pipe, err := g.open(ctx)
	if err != nil {
		return fmt.Errorf("serialmux: open the port to the host: %w", err)
	}
	reader.Reset(pipe)
	session, err := guestSession(ctx, pipe, reader, g.receive)
	if err != nil {
		return ctx.Err() // a host that goes before it has greeted is no error
	}
	g.setSession(session)
	select {
	case <-session.Done():
	case <-ctx.Done():
	}
	g.setSession(nil)
	_ = session.Close()
	return ctx.Err()
}

func (g *Guest) setSession(s *Session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.session = s
	if s != nil {
		close(g.began)
	} else {
		g.began = make(chan struct{})
	}
}

// Dial connects to a port of the host. It waits for a session until ctx ends.
func (g *Guest) Dial(ctx context.Context, port uint32) (*Conn, error) {
	for {
		g.mu.Lock()
		session, began := g.session, g.began
		g.mu.Unlock()
		if session != nil {
			return session.Dial(ctx, port)
		}
		select {
		case <-began:
		case <-ctx.Done():
			return nil, &net.OpError{Op: "dial", Net: network, Addr: Addr(port), Err: ctx.Err()}
		}
	}
}

// Listen takes the host's connections to a port.
func (g *Guest) Listen(port uint32) (*Listener, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listeners[port] != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: Addr(port), Err: fmt.Errorf("already listened on")}
	}
	l := &Listener{guest: g, port: port, conns: make(chan *Conn, listenBacklog), done: make(chan struct{})}
	g.listeners[port] = l
	return l, nil
}

// listenBacklog is how many connections may wait for Accept; further ones wait for their answer.
const listenBacklog = 64

func (g *Guest) receive(r *Request) {
	g.mu.Lock()
	l := g.listeners[r.Port]
	g.mu.Unlock()
	if l == nil {
		r.Refuse()
		return
	}
	l.receive(r)
}

// Listener is a port of the guest.
type Listener struct {
	guest *Guest
	port  uint32
	conns chan *Conn
	once  sync.Once
	done  chan struct{}
}

func (l *Listener) receive(r *Request) {
	select {
	case l.conns <- r.conn: // Accept answers
	case <-l.done:
		r.Refuse()
	case <-r.conn.session.Done():
	}
	select {
	case <-l.done: // closed meanwhile, and perhaps not by someone who has seen this connection
		l.refuseWaiting()
	default:
	}
}

// Accept returns the next connection. After Close it fails with net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		select {
		case <-l.done:
			return nil, &net.OpError{Op: "accept", Net: network, Addr: l.Addr(), Err: net.ErrClosed}
		case conn := <-l.conns:
			request := &Request{Port: l.port, conn: conn}
			if conn, err := request.Accept(); err == nil {
				return conn, nil
			} // gone meanwhile
		}
	}
}

// Close refuses further connections, also those not accepted yet; accepted ones go on.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.guest.mu.Lock()
		delete(l.guest.listeners, l.port)
		l.guest.mu.Unlock()
		close(l.done)
		l.refuseWaiting()
	})
	return nil
}

func (l *Listener) refuseWaiting() {
	for {
		select {
		case conn := <-l.conns:
			(&Request{Port: l.port, conn: conn}).Refuse()
		default:
			return
		}
	}
}

// Addr returns the port.
func (l *Listener) Addr() net.Addr { return Addr(l.port) }
