package portguard

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// V6 is what a port allows of IPv6: nothing without an address.
type V6 struct {
	// Address and LinkLocal are the port's own. The second reaches other ports only.
	Address, LinkLocal netip.Addr
	// Subnet is where the other ports are.
	Subnet netip.Prefix
	// Gateway may lie outside the subnet.
	Gateway netip.Addr
	// Reserved are addresses of the subnet that the port may not reach.
	Reserved []netip.Addr
}

const (
	ipv6Minimum    = 40
	fragmentHeader = 8
	icmpv6Minimum  = 8
	// solicitationMinimum is a question for a neighbour without options.
	solicitationMinimum = 24
	// neighbourHops is what messages of neighbour discovery begin with; what has passed a router has less.
	neighbourHops = 255

	protocolFragment = 44
	protocolICMPv6   = 58

	typeEchoRequest  = 128
	typeEchoReply    = 129
	typeErrors       = 127 // and below
	typeSolicitRoute = 133
	typeSolicitation = 135
	typeRedirect     = 137
)

// extensions are all headers but that of fragments that may stand before what a packet carries (RFC 4303, 8200 and others), and the one that says nothing follows.
// Programs do not use them; in front of a router's announcement they hide it from those who look at the first header alone.
var extensions = []byte{0, 43, protocolFragment, 51, 59, 60, 135, 139, 140}

func destinationV6(frame []byte) netip.Addr {
	return netip.AddrFrom16([16]byte(frame[EthernetHeader+24 : EthernetHeader+40]))
}

// checkIPv6 judges a packet that is sent to one MAC or to a group.
func (g *Guard) checkIPv6(group bool, p []byte) Verdict {
	if !g.V6.Address.IsValid() {
		return Ignored // every Linux guest tries
	}
	if len(p) < ipv6Minimum || p[0]>>4 != 6 {
		return Malformed
	}
	total := ipv6Minimum + int(binary.BigEndian.Uint16(p[4:6]))
	if total > len(p) {
		return Malformed
	}
	from, to := netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
	protocol, payload := p[6], p[ipv6Minimum:total]
	if protocol == protocolICMPv6 && len(payload) > 0 && payload[0] == typeSolicitation {
		return g.checkSolicitation(from, p[7], payload)
	}
	switch {
	case group:
		return Ignored // groups of multicast, their routers, mDNS
	case from != g.V6.Address && (from != g.V6.LinkLocal || !to.IsLinkLocalUnicast()):
		return IPSource
	case to.IsMulticast(), to == g.V6.Subnet.Addr():
		return Ignored
	}
	fragment, first := protocol == protocolFragment, true
	if fragment {
		if len(payload) < fragmentHeader {
			return Malformed
		}
		protocol, first = payload[0], binary.BigEndian.Uint16(payload[2:4])&^7 == 0
		payload = payload[fragmentHeader:]
	}
	if slices.Contains(extensions, protocol) {
		return Extension
	}
	inside := g.V6.Subnet.Contains(to) || to.IsLinkLocalUnicast() || to == g.V6.Gateway
	near := inside && !slices.Contains(g.V6.Reserved, to)
	switch {
	case near && protocol == protocolICMPv6 && first:
		return g.checkICMPv6(from, to, fragment, payload)
	case near:
		return Pass // of a fragment, the first was looked at
	}
	if fragment {
		payload = nil
	}
	return g.leaving(to, inside, protocol, payload)
}

// checkSolicitation: the network answers whatever MAC it was sent to, so only the asker must be true.
func (g *Guard) checkSolicitation(from netip.Addr, hops byte, m []byte) Verdict {
	switch {
	case from.IsUnspecified():
		return Ignored // does anybody have the address already? The network gives each once
	case from != g.V6.Address && from != g.V6.LinkLocal:
		return IPSource
	case len(m) < solicitationMinimum || m[1] != 0 || hops != neighbourHops:
		return Malformed
	}
	return Solicitation
}

// checkICMPv6 judges a message to another port or the gateway.
func (g *Guard) checkICMPv6(from, to netip.Addr, fragment bool, m []byte) Verdict {
	if len(m) < icmpv6Minimum {
		return Malformed
	}
	switch kind := m[0]; {
	case kind == typeEchoRequest, kind == typeEchoReply:
		return Pass
	case kind <= typeErrors:
		// An error is about a packet that came: of another's packets nobody may say how large they can be.
		if fragment || len(m) < icmpv6Minimum+ipv6Minimum {
			return Control
		}
		about := m[icmpv6Minimum:]
		if netip.AddrFrom16([16]byte(about[8:24])) != to || netip.AddrFrom16([16]byte(about[24:40])) != from {
			return Control
		}
		return Pass
	case kind >= typeSolicitRoute && kind <= typeRedirect:
		return Control
	}
	return Ignored
}
