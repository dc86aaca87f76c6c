package nat

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	dialTimeout = 30 * time.Second
	relayBuffer = 128 << 10
	// A guest that vanished without a word is noticed in two minutes.
	keepaliveIdle     = tcpip.KeepaliveIdleOption(60 * time.Second)
	keepaliveInterval = tcpip.KeepaliveIntervalOption(15 * time.Second)
	keepaliveCount    = 4
)

var relayBuffers = sync.Pool{New: func() any {
	b := make([]byte, relayBuffer)
	return &b
}}

// handleTCP serves one connection from the guest's first packet to its end. It runs in a goroutine of its own.
func (g *Gateway) handleTCP(r *tcp.ForwarderRequest) {
	id := r.ID()
	one := g.begin(id.RemoteAddress)
	if one == nil {
		r.Complete(true)
		return
	}
	defer g.work.Done()
	asked := plain(id.LocalAddress)
	if g.config.Resolver != nil && id.LocalPort == dnsPort && g.isGateway(asked) {
		g.answerTCP(one, r)
		return
	}
	to, allowed := g.config.Dial(asked)
	if !allowed || !one.reserve(&one.dialing, maxDialing) {
		r.Complete(true)
		return
	}
	c, ok := g.connect(one, r, netip.AddrPortFrom(to, id.LocalPort))
	one.release(&one.dialing)
	if !ok {
		return
	}
	if !one.keep(c, g.config.MaxSockets) {
		c.abort()
		return
	}
	c.relay()
	one.forget(c)
}

// connect dials, and accepts the guest's connection once that has succeeded; otherwise the guest is sent a reset.
func (g *Gateway) connect(one *guest, r *tcp.ForwarderRequest, to netip.AddrPort) (*connection, bool) {
	dialer := net.Dialer{Timeout: dialTimeout}
	host, err := dialer.DialContext(one.ctx, family("tcp", to.Addr()), to.String())
	if err != nil {
		r.Complete(true)
		return nil, false
	}
	c, ok := g.accept(one, r)
	if !ok {
		host.Close()
		return nil, false
	}
	c.host = host.(*net.TCPConn)
	return c, true
}

// accept finishes the guest's handshake.
func (g *Gateway) accept(one *guest, r *tcp.ForwarderRequest) (*connection, bool) {
	queue := new(waiter.Queue)
	// CreateEndpoint waits for the guest to answer, and looks again at each event.
	stop := context.AfterFunc(one.ctx, func() { queue.Notify(waiter.WritableEvents) })
	defer stop()
	ep, tcpErr := r.CreateEndpoint(queue)
	if tcpErr != nil {
		r.Complete(true)
		return nil, false
	}
	r.Complete(false)
	ep.SocketOptions().SetKeepAlive(true)
	idle, interval := keepaliveIdle, keepaliveInterval
	_ = ep.SetSockOpt(&idle)
	_ = ep.SetSockOpt(&interval)
	_ = ep.SetSockOptInt(tcpip.KeepaliveCountOption, keepaliveCount)
	return &connection{ep: ep, guest: gonet.NewTCPConn(queue, ep)}, true
}

// connection joins a guest's connection with the host's.
type connection struct {
	ep    tcpip.Endpoint
	guest *gonet.TCPConn
	host  *net.TCPConn
}

// abort resets both sides.
func (c *connection) abort() {
	c.ep.Abort()
	if c.host != nil {
		_ = c.host.SetLinger(0)
		c.host.Close()
	}
}

// relay copies both ways until both sides have said that they are done, or one of them failed, which resets the other.
func (c *connection) relay() {
	toHost := make(chan error, 1)
	go func() {
		err := pump(c.host, c.guest)
		if err == nil {
			err = c.host.CloseWrite()
		}
		if err != nil {
			c.abort()
		}
		toHost <- err
	}()
	err := pump(c.guest, c.host)
	if err == nil {
		err = c.guest.CloseWrite()
	}
	if err != nil {
		c.abort()
	}
	if err = errors.Join(err, <-toHost); err == nil {
		c.host.Close()
		c.guest.Close()
	}
}

func pump(to io.Writer, from io.Reader) error {
	b := relayBuffers.Get().(*[]byte)
	defer relayBuffers.Put(b)
	// The wrapping hides ReadFrom and WriteTo, which would take smaller buffers.
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, *b)
	return err
}

// answerTCP serves DNS over one TCP connection.
func (g *Gateway) answerTCP(one *guest, r *tcp.ForwarderRequest) {
	if !one.reserve(&one.queries, maxQueries) {
		r.Complete(true)
		return
	}
	defer one.release(&one.queries)
	c, ok := g.accept(one, r)
	if !ok {
		return
	}
	defer c.guest.Close()
	stop := context.AfterFunc(one.ctx, c.abort)
	defer stop()
	for {
		_ = c.guest.SetDeadline(time.Now().Add(queryTimeout))
		var length [2]byte
		if _, err := io.ReadFull(c.guest, length[:]); err != nil {
			return
		}
		query := make([]byte, int(length[0])<<8|int(length[1]))
		if _, err := io.ReadFull(c.guest, query); err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(one.ctx, queryTimeout)
		answer := g.config.Resolver.Answer(ctx, query, true)
		cancel()
		if answer == nil || len(answer) > 0xffff {
			return
		}
		_ = c.guest.SetDeadline(time.Now().Add(queryTimeout))
		if _, err := c.guest.Write(append([]byte{byte(len(answer) >> 8), byte(len(answer))}, answer...)); err != nil {
			return
		}
	}
}
