// Package nat is the gateway of a network: a TCP/IP stack of its own (gVisor's) on the network's gateway address. Connections that guests open to
// the world end here, and the gateway makes each of them once more with a socket of the host. So no privilege is needed, and only what this
// process may reach can be reached. It answers ARP and ICMP echo for itself.
//
// What a guest can cost is bounded for each guest alone: connections, connections being made, UDP flows, pending DNS queries. Start with
// [Gateway]; tcp.go and udp.go have the two ways out.
package nat

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/vzctl/vzctl/plugins/user-network/portguard"
)

// Resolver answers DNS messages.
type Resolver interface {
	// Answer returns the response to a query that came over UDP or TCP, or nil for none. It returns when ctx ends.
	Answer(ctx context.Context, query []byte, overTCP bool) []byte
}

// Config of a gateway.
type Config struct {
	Subnet  netip.Prefix
	Address netip.Addr
	// Dial translates the address that a guest asked for into the one to dial, or refuses.
	Dial func(netip.Addr) (netip.Addr, bool)
	// Resolver serves port 53 of the gateway; nil for no DNS.
	Resolver Resolver
	// MaxSockets is how many TCP connections a guest may have, and how many UDP flows.
	MaxSockets int
}

const (
	card       = tcpip.NICID(1)
	dnsPort    = 53
	maxDialing = 256 // connections of one guest that are being made
	maxQueries = 64  // DNS queries of one guest that wait for an answer
)

// Gateway serves the endpoints that Add names.
type Gateway struct {
	config Config
	stack  *stack.Stack
	ctx    context.Context
	stop   context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	guests map[netip.Addr]*guest
}

// New starts a gateway on a network card.
func New(config Config, link stack.LinkEndpoint) (*Gateway, error) {
	g := &Gateway{config: config, guests: map[netip.Addr]*guest{}}
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	g.ctx, g.stop = context.WithCancel(context.Background())
	if err := g.setUp(link); err != nil {
		g.stop()
		g.stack.Destroy()
		return nil, err
	}
	return g, nil
}

func (g *Gateway) setUp(link stack.LinkEndpoint) error {
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	subnet, err := tcpip.NewSubnet(address(g.config.Subnet.Addr()), tcpip.MaskFromBytes(mask(g.config.Subnet.Bits())))
	if err != nil {
		return err
	}
	for _, e := range []tcpip.Error{
		g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack),
		g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &moderate),
		g.stack.CreateNIC(card, link),
		g.stack.AddProtocolAddress(card, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(g.config.Address), PrefixLen: 32}}, stack.AddressProperties{}),
		// Packets for the whole world arrive, and answers leave with the world's addresses.
		g.stack.SetPromiscuousMode(card, true),
		g.stack.SetSpoofing(card, true),
	} {
		if e != nil {
			return errors.New("set up the gateway: " + e.String())
		}
	}
	g.stack.SetRouteTable([]tcpip.Route{{Destination: subnet, NIC: card}})
	// Bounds are kept for each guest; this one must only never be the first to be met.
	forwarder := tcp.NewForwarder(g.stack, 0, 1<<16, g.handleTCP)
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, forwarder.HandlePacket)
	g.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(g.stack, g.handleUDP).HandlePacket)
	if g.config.Resolver != nil {
		return g.serveDNS()
	}
	return nil
}

// Add makes an endpoint known. Its packets are served from now on.
func (g *Gateway) Add(at netip.Addr, mac portguard.MAC) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errors.New("the gateway is closed")
	}
	if err := g.stack.AddStaticNeighbor(card, ipv4.ProtocolNumber, address(at), tcpip.LinkAddress(mac[:])); err != nil {
		return fmt.Errorf("add neighbour %s: %s", at, err)
	}
	ctx, cancel := context.WithCancel(g.ctx)
	g.guests[at] = &guest{ctx: ctx, cancel: cancel, open: map[closer]struct{}{}}
	return nil
}

// Remove forgets an endpoint and cuts its connections.
func (g *Gateway) Remove(at netip.Addr) {
	g.mu.Lock()
	gone := g.guests[at]
	delete(g.guests, at)
	g.mu.Unlock()
	if gone != nil {
		gone.cut()
		g.stack.RemoveNeighbor(card, ipv4.ProtocolNumber, address(at))
	}
}

// Close cuts everything and waits until nothing of the gateway runs.
func (g *Gateway) Close() {
	g.mu.Lock()
	g.closed = true
	guests := g.guests
	g.guests = map[netip.Addr]*guest{}
	g.mu.Unlock()
	for _, one := range guests {
		one.cut()
	}
	g.stop()
	g.stack.Close()
	g.work.Wait()
	g.stack.Wait()
}

// begin returns the guest with an address and counts a goroutine, which must call g.work.Done; nil if there is none.
func (g *Gateway) begin(from tcpip.Address) *guest {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.guests[netip.AddrFrom4(from.As4())]
	if one != nil {
		g.work.Add(1)
	}
	return one
}

func address(a netip.Addr) tcpip.Address { return tcpip.AddrFrom4(a.As4()) }

func mask(bits int) []byte {
	m := ^uint32(0) << (32 - bits)
	return []byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}
}
