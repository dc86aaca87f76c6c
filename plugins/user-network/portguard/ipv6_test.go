package portguard_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/vzctl/vzctl/plugins/user-network/portguard"
)

const (
	self6     = "fd00::7"
	local6    = "fe80::ff:fe00:1"
	neighbour = "fd00::8"
	gateway6  = "fd00::1"
	world6    = "2001:db8::1"
)

var allNodes = portguard.MAC{0x33, 0x33, 0, 0, 0, 1}

func guard6() *portguard.Guard {
	g := guard()
	g.V6 = portguard.V6{
		Address: netip.MustParseAddr(self6), LinkLocal: netip.MustParseAddr(local6), Subnet: netip.MustParsePrefix("fd00::/64"),
		Gateway: netip.MustParseAddr(gateway6), Reserved: []netip.Addr{netip.MustParseAddr("fd00::fe")},
	}
	g.Outside = func(a netip.Addr) bool { return a == netip.MustParseAddr(world6) }
	return g
}

// ip6 makes a packet around a payload.
func ip6(protocol byte, from, to string, payload []byte) []byte {
	p := make([]byte, 40)
	p[0], p[6], p[7] = 0x60, protocol, 255
	binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	copy(p[8:], netip.MustParseAddr(from).AsSlice())
	copy(p[24:], netip.MustParseAddr(to).AsSlice())
	return append(p, payload...)
}

func tcp6(flags byte) []byte {
	s := make([]byte, 20)
	s[13] = flags
	return s
}

func icmp6(kind byte, about ...byte) []byte {
	return append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, about...)
}

func solicitation(target string) []byte {
	return append(icmp6(135), netip.MustParseAddr(target).AsSlice()...)
}

// fragment puts a header of fragments before a payload.
func fragment(protocol byte, offset uint16, payload []byte) []byte {
	h := make([]byte, 8)
	h[0] = protocol
	binary.BigEndian.PutUint16(h[2:], offset<<3|1)
	return append(h, payload...)
}

func TestTheGuardJudgesIPv6(t *testing.T) {
	const tcp, udp, icmp, hopByHop, fragments, options = 6, 17, 58, 0, 44, 60
	udpData := make([]byte, 8)
	to := func(mac portguard.MAC, p []byte) []byte { return ethernet(mac, own, 0x86dd, p) }
	about := func(from, to string) []byte { return icmp6(2, ip6(udp, from, to, udpData)...) }
	for _, test := range []struct {
		name  string
		frame []byte
		want  portguard.Verdict
	}{
		{"a header alone", to(peer, nil), portguard.Malformed},
		{"39 bytes", to(peer, ip6(udp, self6, neighbour, nil)[:39]), portguard.Malformed},
		{"version 4 as IPv6", to(peer, ip(udp, "10.0.0.7", "10.0.0.8", nil)), portguard.Malformed},
		{"a length beyond the frame", to(peer, ip6(udp, self6, neighbour, udpData)[:47]), portguard.Malformed},
		{"padding behind the packet", to(peer, append(ip6(udp, self6, neighbour, udpData), 0, 0)), portguard.Pass},

		{"UDP to a neighbour", to(peer, ip6(udp, self6, neighbour, udpData)), portguard.Pass},
		{"SCTP to a neighbour", to(peer, ip6(132, self6, neighbour, udpData)), portguard.Pass},
		{"another's address", to(peer, ip6(udp, "fd00::9", neighbour, udpData)), portguard.IPSource},
		{"the gateway's address", to(peer, ip6(udp, gateway6, neighbour, udpData)), portguard.IPSource},
		{"no address", to(peer, ip6(udp, "::", neighbour, udpData)), portguard.IPSource},
		{"from link to link", to(peer, ip6(udp, local6, "fe80::2", udpData)), portguard.Pass},
		{"another's link-local address", to(peer, ip6(udp, "fe80::2", "fe80::3", udpData)), portguard.IPSource},
		{"a link-local address outwards", to(router, ip6(udp, local6, world6, udpData)), portguard.IPSource},
		{"a group's MAC", to(allNodes, ip6(udp, self6, "ff02::fb", udpData)), portguard.Ignored},
		{"a group's address at one MAC", to(peer, ip6(udp, self6, "ff02::1", udpData)), portguard.Ignored},
		{"a broadcast", to(portguard.Broadcast, ip6(udp, self6, neighbour, udpData)), portguard.Ignored},
		{"every router's address", to(router, ip6(udp, self6, "fd00::", udpData)), portguard.Ignored},

		{"who has a neighbour", to(portguard.MAC{0x33, 0x33, 0xff, 0, 0, 8}, ip6(icmp, self6, "ff02::1:ff00:8", solicitation(neighbour))), portguard.Solicitation},
		{"are you still there", to(peer, ip6(icmp, local6, neighbour, solicitation(neighbour))), portguard.Solicitation},
		{"does anybody have my address", to(allNodes, ip6(icmp, "::", "ff02::1:ff00:7", solicitation(self6))), portguard.Ignored},
		{"who has, for another", to(allNodes, ip6(icmp, neighbour, "ff02::1:ff00:1", solicitation(gateway6))), portguard.IPSource},
		{"who has, cut short", to(allNodes, ip6(icmp, self6, "ff02::1", solicitation(neighbour)[:23])), portguard.Malformed},
		{"who has, from far away", to(allNodes, func() []byte { p := ip6(icmp, self6, "ff02::1", solicitation(neighbour)); p[7] = 64; return p }()), portguard.Malformed},
		{"I have your neighbour", to(peer, ip6(icmp, self6, neighbour, icmp6(136, netip.MustParseAddr(gateway6).AsSlice()...))), portguard.Control},
		{"I am a router", to(peer, ip6(icmp, local6, "fe80::2", icmp6(134))), portguard.Control},
		{"I am a router, to all", to(allNodes, ip6(icmp, local6, "ff02::1", icmp6(134))), portguard.Ignored},
		{"I am a router, to all at one MAC", to(peer, ip6(icmp, self6, "ff02::1", icmp6(134))), portguard.Ignored},
		{"I am a router, behind options", to(peer, ip6(options, self6, neighbour, append([]byte{icmp, 0, 1, 4, 0, 0, 0, 0}, icmp6(134)...))), portguard.Extension},
		{"I am a router, behind hop-by-hop options", to(peer, ip6(hopByHop, self6, neighbour, append([]byte{icmp, 0, 1, 4, 0, 0, 0, 0}, icmp6(134)...))), portguard.Extension},
		{"I am a router, as a fragment", to(peer, ip6(fragments, self6, neighbour, fragment(icmp, 0, icmp6(134)))), portguard.Control},
		{"I am a router, as a fragment behind options", to(peer, ip6(fragments, self6, neighbour, fragment(options, 0, icmp6(134)))), portguard.Extension},
		{"fragments in fragments", to(peer, ip6(fragments, self6, neighbour, fragment(fragments, 0, fragment(icmp, 0, icmp6(134))))), portguard.Extension},
		{"a redirect", to(peer, ip6(icmp, self6, neighbour, icmp6(137))), portguard.Control},
		{"where are routers", to(router, ip6(icmp, self6, gateway6, icmp6(133))), portguard.Control},
		{"groups at one MAC", to(router, ip6(icmp, self6, gateway6, icmp6(143))), portguard.Ignored},

		{"echo to a neighbour", to(peer, ip6(icmp, self6, neighbour, icmp6(128))), portguard.Pass},
		{"the answer", to(peer, ip6(icmp, self6, neighbour, icmp6(129))), portguard.Pass},
		{"echo to the gateway", to(router, ip6(icmp, self6, gateway6, icmp6(128))), portguard.Pass},
		{"ICMPv6 cut short", to(peer, ip6(icmp, self6, neighbour, icmp6(128)[:7])), portguard.Malformed},
		{"an error about what came", to(peer, ip6(icmp, self6, neighbour, about(neighbour, self6))), portguard.Pass},
		{"an error about what went to another", to(peer, ip6(icmp, self6, neighbour, about(neighbour, "fd00::9"))), portguard.Control},
		{"an error about nothing", to(peer, ip6(icmp, self6, neighbour, icmp6(2))), portguard.Control},
		{"a part of an error", to(peer, ip6(fragments, self6, neighbour, fragment(icmp, 0, about(neighbour, self6)))), portguard.Control},
		{"a part of a large echo", to(peer, ip6(fragments, self6, neighbour, fragment(icmp, 0, icmp6(128)))), portguard.Pass},
		{"a later part", to(peer, ip6(fragments, self6, neighbour, fragment(icmp, 1, icmp6(134)))), portguard.Pass},
		{"a part cut short", to(peer, ip6(fragments, self6, neighbour, fragment(udp, 0, nil)[:7])), portguard.Malformed},

		{"TCP to the world", to(router, ip6(tcp, self6, world6, tcp6(0x10))), portguard.Pass},
		{"UDP to the world in parts", to(router, ip6(fragments, self6, world6, fragment(udp, 0, udpData))), portguard.Pass},
		{"ICMPv6 to the world", to(router, ip6(icmp, self6, world6, icmp6(128))), portguard.Ignored},
		{"a SYN to what is not allowed", to(router, ip6(tcp, self6, "fd01::1", tcp6(0x02))), portguard.PassRefused},
		{"a SYN with an ACK to what is not allowed", to(router, ip6(tcp, self6, "fd01::1", tcp6(0x12))), portguard.Destination},
		{"a SYN cut short to what is not allowed", to(router, ip6(tcp, self6, "fd01::1", tcp6(0x02)[:19])), portguard.Destination},
		{"a part of a SYN to what is not allowed", to(router, ip6(fragments, self6, "fd01::1", fragment(tcp, 0, tcp6(0x02)))), portguard.Destination},
		{"UDP to what is not allowed", to(router, ip6(udp, self6, "fd01::1", udpData)), portguard.Destination},
		{"UDP to a mapped address", to(router, ip6(udp, self6, "::ffff:127.0.0.1", udpData)), portguard.Destination},
		{"UDP to the host's alias when it is not allowed", to(router, ip6(udp, self6, "fd00::fe", udpData)), portguard.Destination},
		{"a SYN to the host's alias when it is not allowed", to(router, ip6(tcp, self6, "fd00::fe", tcp6(0x02))), portguard.PassRefused},
		{"echo to the host's alias when it is not allowed", to(router, ip6(icmp, self6, "fd00::fe", icmp6(128))), portguard.Ignored},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := guard6().Check(test.frame); got != test.want {
				t.Fatalf("%q, want %q", got, test.want)
			}
			if got := guard().Check(test.frame); got != portguard.Ignored {
				t.Fatalf("without IPv6 it is %q", got)
			}
		})
	}
}

func TestAPortWithoutIPv4SendsNone(t *testing.T) {
	g := guard6()
	g.Address, g.Subnet, g.Gateways, g.Reserved = netip.Addr{}, netip.Prefix{}, nil, nil
	for name, frame := range map[string][]byte{
		"IPv4": ethernet(peer, own, 0x0800, ip(17, "10.0.0.7", "10.0.0.8", nil)),
		"ARP":  ethernet(portguard.Broadcast, own, 0x0806, arp(1, own, "10.0.0.7", "10.0.0.1")),
	} {
		if got := g.Check(frame); got != portguard.Ignored {
			t.Errorf("%s is %q", name, got)
		}
	}
}

func TestTheGatewaySeesOfIPv6WhatIsItsOwn(t *testing.T) {
	for _, test := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"to its MAC", ethernet(router, own, 0x86dd, ip6(17, self6, world6, make([]byte, 8))), true},
		{"to a neighbour's MAC", ethernet(peer, own, 0x86dd, ip6(17, self6, neighbour, make([]byte, 8))), false},
		{"to a link-local address", ethernet(router, own, 0x86dd, ip6(17, local6, "fe80::1", make([]byte, 8))), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := guard6()
			if v := g.Check(test.frame); v != portguard.Pass {
				t.Fatal(v)
			}
			if got := g.ForGateway(test.frame, router); got != test.want {
				t.Fatalf("%t", got)
			}
		})
	}
}

func TestAGatewayOutsideTheSubnetIsReached(t *testing.T) {
	g := guard6()
	g.V6.Gateway = netip.MustParseAddr("fd99::1")
	for name, p := range map[string][]byte{
		"echo": ip6(58, self6, "fd99::1", icmp6(128)),
		"DNS":  ip6(17, self6, "fd99::1", make([]byte, 8)),
	} {
		if got := g.Check(ethernet(router, own, 0x86dd, p)); got != portguard.Pass {
			t.Errorf("%s is %q", name, got)
		}
	}
}

// What passes is what the rest relies on.
func FuzzTheGuardOfIPv6(f *testing.F) {
	f.Add(ethernet(peer, own, 0x86dd, ip6(17, self6, neighbour, make([]byte, 8))))
	f.Add(ethernet(allNodes, own, 0x86dd, ip6(58, self6, "ff02::1", solicitation(neighbour))))
	f.Add(ethernet(peer, own, 0x86dd, ip6(44, self6, neighbour, fragment(58, 0, icmp6(128)))))
	f.Add(ethernet(peer, own, 0x86dd, ip6(58, self6, neighbour, icmp6(1, ip6(17, neighbour, self6, nil)...))))
	f.Fuzz(func(t *testing.T, frame []byte) {
		g := guard6()
		v := g.Check(frame)
		if !v.Passes() && v != portguard.Solicitation || binary.BigEndian.Uint16(frame[12:]) != 0x86dd {
			return
		}
		from := netip.AddrFrom16([16]byte(frame[22:38])).String()
		if from != self6 && from != local6 {
			t.Fatalf("passed %x", frame)
		}
		if v == portguard.Solicitation {
			if len(frame) < 14+40+24 {
				t.Fatalf("passed %x", frame)
			}
			return
		}
		g.ForGateway(frame, router)
		if frame[0]&1 != 0 || frame[20] == 58 && frame[54] >= 130 {
			t.Fatalf("passed %x", frame)
		}
	})
}
