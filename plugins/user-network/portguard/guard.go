// Package portguard decides for every Ethernet frame that comes from a VM whether it goes on. A guest is root in its VM and sends any bytes it
// likes; what stands behind the guard may rely on frames that are well formed and that name their true sender.
//
// It is pure: no socket, no clock but the caller's. It does not look into what TCP and UDP carry and keeps no connections. Start with
// [Guard.Check].
package portguard

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// MAC is an Ethernet address.
type MAC [6]byte

// Broadcast reaches every port.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// EthernetHeader is the length of an Ethernet header in bytes. A frame is at most this and the MTU.
const EthernetHeader = 14

const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd

	arpLength   = 28
	ipv4Minimum = 20

	protocolTCP = 6
	protocolUDP = 17

	fragmentMask = 0x3fff // more fragments, and the offset
	tcpMinimum   = 20
	tcpFlags     = 13
	tcpSYN       = 0x02
	tcpACK       = 0x10
)

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Guard is what one port allows. Its fields do not change while frames are checked; Check may then be called from many goroutines.
type Guard struct {
	// MAC and Address are the port's own. Without an address there is no IPv4.
	MAC     MAC
	Address netip.Addr
	// MTU bounds what follows the Ethernet header.
	MTU int
	// Subnet is where the other ports are.
	Subnet netip.Prefix
	// V6 is the same of IPv6.
	V6 V6
	// Gateways are the addresses of the subnet for which the gateway answers ARP: its own, and the one that stands for the host.
	Gateways []netip.Addr
	// Reserved are addresses of the subnet that the port may not reach.
	Reserved []netip.Addr
	// Outside reports whether an address outside the subnets may be reached.
	Outside func(netip.Addr) bool
}

// Check judges a frame.
func (g *Guard) Check(frame []byte) Verdict {
	switch {
	case len(frame) < EthernetHeader:
		return Short
	case len(frame) > EthernetHeader+g.MTU:
		return Long
	case MAC(frame[6:12]) != g.MAC:
		return SourceMAC
	}
	destination, payload := MAC(frame[:6]), frame[EthernetHeader:]
	group := destination[0]&1 != 0
	switch kind := binary.BigEndian.Uint16(frame[12:14]); {
	case kind == typeIPv6:
		return g.checkIPv6(group, payload)
	case group && destination != Broadcast:
		return Ignored // mDNS, spanning tree
	case !g.Address.IsValid() && (kind == typeARP || kind == typeIPv4):
		return Ignored
	case kind == typeARP:
		return g.checkARP(payload)
	case kind == typeIPv4 && group:
		return g.ignoredIf(g.checkIPv4(payload))
	case kind == typeIPv4:
		return g.checkIPv4(payload)
	}
	return EtherType
}

// ignoredIf drops broadcast packets of IPv4 without blame: nothing on the network listens to them.
func (g *Guard) ignoredIf(v Verdict) Verdict {
	if v == Pass {
		return Ignored
	}
	return v
}

func (g *Guard) checkARP(p []byte) Verdict {
	// Ethernet and IPv4 only, request and reply only.
	if len(p) < arpLength || binary.BigEndian.Uint64(p[:8])&^3 != 0x0001_0800_0604_0000 || p[7] < 1 || p[7] > 2 {
		return Malformed
	}
	if MAC(p[8:14]) != g.MAC || netip.AddrFrom4([4]byte(p[14:18])) != g.Address {
		return ARPSender
	}
	return Pass
}

func (g *Guard) checkIPv4(p []byte) Verdict {
	if len(p) < ipv4Minimum || p[0]>>4 != 4 {
		return Malformed
	}
	header, total := int(p[0]&15)*4, int(binary.BigEndian.Uint16(p[2:4]))
	if header < ipv4Minimum || header > total || total > len(p) {
		return Malformed
	}
	if netip.AddrFrom4([4]byte(p[12:16])) != g.Address {
		return IPSource
	}
	to, protocol := netip.AddrFrom4([4]byte(p[16:20])), p[9]
	inside := g.Subnet.Contains(to)
	switch {
	case to.IsMulticast(), to == limitedBroadcast, to == g.Subnet.Addr(), to == Last(g.Subnet):
		return Ignored
	case inside && !slices.Contains(g.Reserved, to):
		return Pass
	}
	segment := p[header:total]
	if binary.BigEndian.Uint16(p[6:8])&fragmentMask != 0 {
		segment = nil
	}
	return g.leaving(to, inside, protocol, segment)
}

// leaving judges a packet that is for no other port and not for the gateway itself. The segment is that of TCP, nil if the packet is a fragment.
func (g *Guard) leaving(to netip.Addr, inside bool, protocol byte, segment []byte) Verdict {
	switch {
	case protocol != protocolTCP && protocol != protocolUDP:
		return Ignored // the gateway has no way to send it on
	case !inside && g.Outside(to):
		return Pass
	case protocol == protocolTCP && opensTCP(segment):
		// The gateway answers with a reset, so that a program in the guest fails at once and not after minutes. Nothing else of such a
		// connection passes.
		return PassRefused
	}
	return Destination
}

// opensTCP reports whether a segment is a whole SYN.
func opensTCP(segment []byte) bool {
	return len(segment) >= tcpMinimum && segment[tcpFlags]&(tcpSYN|tcpACK) == tcpSYN
}

// ForGateway reports whether the gateway is to see a frame that Check let pass: what is sent to its MAC, and ARP requests for its addresses.
func (g *Guard) ForGateway(frame []byte, gateway MAC) bool {
	switch binary.BigEndian.Uint16(frame[12:14]) {
	case typeIPv4:
		return MAC(frame[:6]) == gateway
	case typeIPv6:
		return MAC(frame[:6]) == gateway && !destinationV6(frame).IsLinkLocalUnicast() // it has no such address
	}
	target, request := netip.AddrFrom4([4]byte(frame[38:42])), frame[21] == 1
	return request && slices.Contains(g.Gateways, target)
}

// Last returns the highest address of a prefix, in IPv4 its broadcast address.
func Last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
