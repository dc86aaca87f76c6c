// Package nat is the gateway of a network: a TCP/IP stack of its own (gVisor's) on the network's gateway address. Connections that guests open to
// the world end here, and the gateway makes each of them once more with a socket of the host. So no privilege is needed, and only what this
// process may reach can be reached. It answers ARP and ICMP echo for itself; for neighbours in IPv6 package neighbour does, so no message of neighbour discovery
// ever comes here.
//
// What a guest can cost is bounded for each guest alone: connections, connections being made, UDP flows, pending DNS queries. Start with
// [Gateway]; tcp.go and udp.go have the two ways out.
package nat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
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
	// Links are the gateway's addresses, at most one of each family, with the networks in which endpoints are.
	Links []Link
	// Dial translates the address that a guest asked for into the one to dial, or refuses.
	Dial func(netip.Addr) (netip.Addr, bool)
	// Resolver serves port 53 of the gateway; nil for no DNS.
	Resolver Resolver
	// MaxSockets is how many TCP connections a guest may have, and how many UDP flows.
	MaxSockets int
}

// Link is the gateway's place in one family.
type Link struct {
	Subnet netip.Prefix
	// Address may lie outside the subnet.
	Address netip.Addr
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
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
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
	for _, e := range []tcpip.Error{
		g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack),
		g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &moderate),
		g.stack.CreateNIC(card, link),
		// Packets for the whole world arrive, and answers leave with the world's addresses.
		g.stack.SetPromiscuousMode(card, true),
		g.stack.SetSpoofing(card, true),
	} {
		if e != nil {
			return errors.New("set up the gateway: " + e.String())
		}
	}
	if err := g.setAddresses(); err != nil {
		return err
	}
	// Bounds are kept for each guest; this one must only never be the first to be met.
	forwarder := tcp.NewForwarder(g.stack, 0, 1<<16, g.handleTCP)
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, forwarder.HandlePacket)
	g.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(g.stack, g.handleUDP).HandlePacket)
	if g.config.Resolver != nil {
		for _, l := range g.config.Links {
			if err := g.serveDNS(l.Address); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *Gateway) setAddresses() error {
	var routes []tcpip.Route
	for _, l := range g.config.Links {
		at := tcpip.ProtocolAddress{Protocol: protocol(l.Address), AddressWithPrefix: address(l.Address).WithPrefix()}
		if err := g.stack.AddProtocolAddress(card, at, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("set up the gateway's address %s: %s", l.Address, err)
		}
		subnet, err := tcpip.NewSubnet(address(l.Subnet.Addr()), tcpip.MaskFromBytes(net.CIDRMask(l.Subnet.Bits(), l.Subnet.Addr().BitLen())))
		if err != nil {
			return err
		}
		routes = append(routes, tcpip.Route{Destination: subnet, NIC: card})
	}
	g.stack.SetRouteTable(routes)
	return nil
}

// Add makes an endpoint with its addresses known. Its packets are served from now on.
func (g *Gateway) Add(mac portguard.MAC, addresses ...netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errors.New("the gateway is closed")
	}
	for _, at := range addresses {
		if err := g.stack.AddStaticNeighbor(card, protocol(at), address(at), tcpip.LinkAddress(mac[:])); err != nil {
			return fmt.Errorf("add neighbour %s: %s", at, err)
		}
	}
	ctx, cancel := context.WithCancel(g.ctx)
	one := &guest{ctx: ctx, cancel: cancel, open: map[closer]struct{}{}}
	for _, at := range addresses {
		g.guests[at] = one
	}
	return nil
}

// Remove forgets an endpoint by all its addresses, and cuts its connections.
func (g *Gateway) Remove(addresses ...netip.Addr) {
	for _, at := range addresses {
		g.mu.Lock()
		gone := g.guests[at]
		delete(g.guests, at)
		g.mu.Unlock()
		if gone != nil {
			gone.cut()
			g.stack.RemoveNeighbor(card, protocol(at), address(at))
		}
	}
}

// isGateway reports whether an address is the gateway's own.
func (g *Gateway) isGateway(a netip.Addr) bool {
	return slices.ContainsFunc(g.config.Links, func(l Link) bool { return l.Address == a })
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
	one := g.guests[plain(from)]
	if one != nil {
		g.work.Add(1)
	}
	return one
}

func address(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

func plain(a tcpip.Address) netip.Addr {
	p, _ := netip.AddrFromSlice(a.AsSlice())
	return p
}

func protocol(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// family names what sockets of the host are to be of: "tcp4" for "tcp" and an address of IPv4.
func family(kind string, a netip.Addr) string {
	if a.Is4() {
		return kind + "4"
	}
	return kind + "6"
}
