package nat

import (
	"bytes"
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// flowIdle is how long a flow without a packet lasts.
	flowIdle     = 90 * time.Second
	queryTimeout = 15 * time.Second
	datagram     = 65535
)

var datagrams = sync.Pool{New: func() any {
	b := make([]byte, datagram)
	return &b
}}

// flow is what one guest's port exchanges with one port of the world. It holds no buffer while nothing moves.
type flow struct {
	owner *guest
	ep    tcpip.Endpoint
	queue *waiter.Queue
	host  *net.UDPConn
	place *list.Element // in owner.flows
	ended chan struct{}
	once  sync.Once
	used  atomic.Int64 // nanoseconds since the epoch
}

func (f *flow) abort() {
	f.once.Do(func() {
		close(f.ended)
		f.host.Close()
		f.ep.Close()
	})
}

// handleUDP is called with the first packet of a flow, and must not wait.
func (g *Gateway) handleUDP(r *udp.ForwarderRequest) {
	id := r.ID()
	to, allowed := g.config.Dial(plain(id.LocalAddress))
	if !allowed {
		return
	}
	one := g.begin(id.RemoteAddress)
	if one == nil {
		return
	}
	defer g.work.Done()
	// Connecting a UDP socket sends nothing and does not wait.
	host, err := net.DialUDP(family("udp", to), nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, id.LocalPort)))
	if err != nil {
		return
	}
	queue := new(waiter.Queue)
	ep, tcpErr := r.CreateEndpoint(queue)
	if tcpErr != nil {
		host.Close()
		return
	}
	f := &flow{owner: one, ep: ep, queue: queue, host: host, ended: make(chan struct{})}
	oldest, ok := one.keepFlow(f, g.config.MaxSockets)
	if oldest != nil {
		oldest.abort()
	}
	if !ok {
		f.abort()
		return
	}
	f.touch()
	g.work.Go(f.toHost)
	g.work.Go(f.toGuest)
}

// touch notes that the flow is in use.
func (f *flow) touch() {
	f.used.Store(time.Now().UnixNano())
	f.owner.useFlow(f)
}

func (f *flow) end() {
	f.owner.forgetFlow(f)
	f.abort()
}

// toHost sends the guest's packets on.
func (f *flow) toHost() {
	defer f.end()
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr)
	f.queue.EventRegister(&entry)
	defer f.queue.EventUnregister(&entry)
	for {
		var packet bytes.Buffer
		_, err := f.ep.Read(&packet, tcpip.ReadOptions{})
		switch err.(type) {
		case nil:
			f.touch()
			// Nobody listening there, or a packet too large for the way, is the business of those who talk.
			_, _ = f.host.Write(packet.Bytes())
		case *tcpip.ErrWouldBlock:
			select {
			case <-readable:
			case <-f.ended:
				return
			}
		default:
			return
		}
	}
}

// toGuest sends the answers back, and ends the flow when nothing has moved for a while.
func (f *flow) toGuest() {
	defer f.end()
	raw, err := f.host.SyscallConn()
	if err != nil {
		return
	}
	for {
		_ = f.host.SetReadDeadline(time.Unix(0, f.used.Load()).Add(flowIdle))
		b, n, err := receive(raw)
		if err != nil {
			if f.host.SetReadDeadline(time.Time{}) == nil && time.Since(time.Unix(0, f.used.Load())) < flowIdle {
				continue // the guest sent meanwhile, or an ICMP error of an earlier packet
			}
			return
		}
		_, _ = f.ep.Write(bytes.NewReader((*b)[:n]), tcpip.WriteOptions{})
		datagrams.Put(b)
		f.touch()
	}
}

// receive waits for a datagram and only then takes a buffer, which the caller puts back.
func receive(raw syscall.RawConn) (b *[]byte, n int, err error) {
	waitErr := raw.Read(func(fd uintptr) bool {
		b = datagrams.Get().(*[]byte)
		if n, err = unix.Read(int(fd), *b); err == nil {
			return true
		}
		datagrams.Put(b)
		b = nil
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if waitErr != nil {
		return nil, 0, waitErr
	}
	return b, n, err
}

// serveDNS answers queries to an address of the gateway over UDP. Those over TCP come through handleTCP.
func (g *Gateway) serveDNS(on netip.Addr) error {
	at := tcpip.FullAddress{NIC: card, Addr: address(on), Port: dnsPort}
	conn, err := gonet.DialUDP(g.stack, &at, nil, protocol(on))
	if err != nil {
		return err
	}
	context.AfterFunc(g.ctx, func() { conn.Close() })
	g.work.Go(func() {
		b := make([]byte, datagram)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			g.answerUDP(conn, bytes.Clone(b[:n]), from)
		}
	})
	return nil
}

func (g *Gateway) answerUDP(conn *gonet.UDPConn, query []byte, from net.Addr) {
	udpFrom, ok := from.(*net.UDPAddr)
	if !ok {
		return
	}
	ip, ok := netip.AddrFromSlice(udpFrom.IP)
	if !ok {
		return
	}
	one := g.begin(address(ip.Unmap()))
	if one == nil {
		return
	}
	if !one.reserve(&one.queries, maxQueries) {
		g.work.Done()
		return
	}
	go func() {
		defer g.work.Done()
		defer one.release(&one.queries)
		ctx, cancel := context.WithTimeout(one.ctx, queryTimeout)
		defer cancel()
		if answer := g.config.Resolver.Answer(ctx, query, false); answer != nil {
			_, _ = conn.WriteTo(answer, from)
		}
	}()
}
