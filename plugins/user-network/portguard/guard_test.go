package portguard_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/user-network/portguard"
)

var (
	own     = portguard.MAC{2, 0, 0, 0, 0, 1}
	peer    = portguard.MAC{2, 0, 0, 0, 0, 2}
	router  = portguard.MAC{2, 0, 0, 0, 0, 9}
	mdns    = portguard.MAC{1, 0, 0x5e, 0, 0, 0xfb}
	address = netip.MustParseAddr("10.0.0.7")
)

func guard() *portguard.Guard {
	return &portguard.Guard{
		MAC: own, Address: address, MTU: 1500, Subnet: netip.MustParsePrefix("10.0.0.0/24"),
		Gateways: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.254")},
		Reserved: []netip.Addr{netip.MustParseAddr("10.0.0.254")},
		Outside:  func(a netip.Addr) bool { return a == netip.MustParseAddr("198.51.100.1") },
	}
}

func ethernet(to, from portguard.MAC, kind uint16, payload []byte) []byte {
	f := append(append([]byte{}, to[:]...), from[:]...)
	return append(binary.BigEndian.AppendUint16(f, kind), payload...)
}

func arp(op byte, sender portguard.MAC, from, target string) []byte {
	p := append([]byte{0, 1, 8, 0, 6, 4, 0, op}, sender[:]...)
	p = append(p, netip.MustParseAddr(from).AsSlice()...)
	p = append(p, make([]byte, 6)...)
	return append(p, netip.MustParseAddr(target).AsSlice()...)
}

// ip makes a packet with a TCP header's length of payload; change mends it.
func ip(protocol byte, from, to string, change func(p []byte)) []byte {
	p := make([]byte, 40)
	p[0], p[9] = 0x45, protocol
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], netip.MustParseAddr(from).AsSlice())
	copy(p[16:], netip.MustParseAddr(to).AsSlice())
	if change != nil {
		change(p)
	}
	return p
}

func flags(f byte) func([]byte) { return func(p []byte) { p[33] = f } }

func TestTheGuardJudges(t *testing.T) {
	const (
		icmp, tcp, udp = 1, 6, 17
		self           = "10.0.0.7"
	)
	ipv4 := func(p []byte) []byte { return ethernet(router, own, 0x0800, p) }
	for _, test := range []struct {
		name  string
		frame []byte
		want  portguard.Verdict
	}{
		{"no bytes", nil, portguard.Short},
		{"five bytes", make([]byte, 5), portguard.Short},
		{"13 bytes", make([]byte, 13), portguard.Short},
		{"a header alone", ethernet(router, own, 0x0800, nil), portguard.Malformed},
		{"one byte above the MTU", ethernet(router, own, 0x0800, make([]byte, 1501)), portguard.Long},
		{"another's MAC", ethernet(router, peer, 0x0800, ip(udp, self, "10.0.0.8", nil)), portguard.SourceMAC},
		{"the gateway's MAC", ethernet(peer, router, 0x0800, ip(udp, self, "10.0.0.8", nil)), portguard.SourceMAC},
		{"multicast", ethernet(mdns, own, 0x0800, ip(udp, self, "224.0.0.251", nil)), portguard.Ignored},
		{"IPv6 on a port without it", ethernet(router, own, 0x86dd, make([]byte, 40)), portguard.Ignored},
		{"a VLAN tag", ethernet(router, own, 0x8100, ip(udp, self, "10.0.0.8", nil)), portguard.EtherType},
		{"a length instead of a type", ethernet(router, own, 46, make([]byte, 46)), portguard.EtherType},

		{"an ARP request", ethernet(portguard.Broadcast, own, 0x0806, arp(1, own, self, "10.0.0.1")), portguard.Pass},
		{"an ARP reply", ethernet(peer, own, 0x0806, arp(2, own, self, "10.0.0.8")), portguard.Pass},
		{"ARP cut short", ethernet(portguard.Broadcast, own, 0x0806, arp(1, own, self, "10.0.0.1")[:27]), portguard.Malformed},
		{"ARP with another operation", ethernet(portguard.Broadcast, own, 0x0806, arp(3, own, self, "10.0.0.1")), portguard.Malformed},
		{"ARP with operation 0", ethernet(portguard.Broadcast, own, 0x0806, arp(0, own, self, "10.0.0.1")), portguard.Malformed},
		{"ARP for the gateway's address", ethernet(peer, own, 0x0806, arp(2, own, "10.0.0.1", "10.0.0.8")), portguard.ARPSender},
		{"ARP with another's MAC inside", ethernet(peer, own, 0x0806, arp(2, peer, self, "10.0.0.8")), portguard.ARPSender},

		{"UDP to a neighbour", ethernet(peer, own, 0x0800, ip(udp, self, "10.0.0.8", nil)), portguard.Pass},
		{"a protocol of their own between neighbours", ethernet(peer, own, 0x0800, ip(132, self, "10.0.0.8", nil)), portguard.Pass},
		{"ICMP to the gateway", ipv4(ip(icmp, self, "10.0.0.1", nil)), portguard.Pass},
		{"another's address", ipv4(ip(udp, "10.0.0.8", "10.0.0.1", nil)), portguard.IPSource},
		{"no address yet", ipv4(ip(udp, "0.0.0.0", "255.255.255.255", nil)), portguard.IPSource},
		{"IPv4 in a broadcast", ethernet(portguard.Broadcast, own, 0x0800, ip(udp, self, "10.0.0.8", nil)), portguard.Ignored},
		{"a broadcast address", ipv4(ip(udp, self, "10.0.0.255", nil)), portguard.Ignored},
		{"the limited broadcast address", ipv4(ip(udp, self, "255.255.255.255", nil)), portguard.Ignored},
		{"version 6 as IPv4", ipv4(ip(udp, self, "10.0.0.8", func(p []byte) { p[0] = 0x65 })), portguard.Malformed},
		{"a header longer than the packet", ipv4(ip(udp, self, "10.0.0.8", func(p []byte) { p[0] = 0x4f })), portguard.Malformed},
		{"a header too short", ipv4(ip(udp, self, "10.0.0.8", func(p []byte) { p[0] = 0x44 })), portguard.Malformed},
		{"a length beyond the frame", ipv4(ip(udp, self, "10.0.0.8", func(p []byte) { p[3] = 41 })), portguard.Malformed},
		{"padding behind the packet", ipv4(append(ip(udp, self, "10.0.0.8", nil), 0, 0)), portguard.Pass},

		{"TCP to the world", ipv4(ip(tcp, self, "198.51.100.1", flags(0x10))), portguard.Pass},
		{"ICMP to the world", ipv4(ip(icmp, self, "198.51.100.1", nil)), portguard.Ignored},
		{"a SYN to what is not allowed", ipv4(ip(tcp, self, "192.168.1.1", flags(0x02))), portguard.PassRefused},
		{"a SYN with an ACK to what is not allowed", ipv4(ip(tcp, self, "192.168.1.1", flags(0x12))), portguard.Destination},
		{"TCP data to what is not allowed", ipv4(ip(tcp, self, "192.168.1.1", flags(0x10))), portguard.Destination},
		{"a fragment of a SYN to what is not allowed", ipv4(ip(tcp, self, "192.168.1.1", func(p []byte) { p[33], p[6] = 2, 0x20 })), portguard.Destination},
		{"a later fragment to what is not allowed", ipv4(ip(tcp, self, "192.168.1.1", func(p []byte) { p[33], p[7] = 2, 1 })), portguard.Destination},
		{"UDP to what is not allowed", ipv4(ip(udp, self, "192.168.1.1", nil)), portguard.Destination},
		{"UDP to the host's alias when it is not allowed", ipv4(ip(udp, self, "10.0.0.254", nil)), portguard.Destination},
		{"a SYN to the host's alias when it is not allowed", ipv4(ip(tcp, self, "10.0.0.254", flags(0x02))), portguard.PassRefused},
		{"ICMP to the host's alias when it is not allowed", ipv4(ip(icmp, self, "10.0.0.254", nil)), portguard.Ignored},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := guard().Check(test.frame); got != test.want {
				t.Fatalf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestTheGatewaySeesWhatIsItsOwn(t *testing.T) {
	for _, test := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"IPv4 to its MAC", ethernet(router, own, 0x0800, ip(17, "10.0.0.7", "198.51.100.1", nil)), true},
		{"IPv4 to a neighbour's MAC", ethernet(peer, own, 0x0800, ip(17, "10.0.0.7", "10.0.0.8", nil)), false},
		{"ARP for its address", ethernet(portguard.Broadcast, own, 0x0806, arp(1, own, "10.0.0.7", "10.0.0.1")), true},
		{"ARP for the host's alias", ethernet(portguard.Broadcast, own, 0x0806, arp(1, own, "10.0.0.7", "10.0.0.254")), true},
		{"ARP for a neighbour's address", ethernet(portguard.Broadcast, own, 0x0806, arp(1, own, "10.0.0.7", "10.0.0.8")), false},
		{"an ARP reply", ethernet(router, own, 0x0806, arp(2, own, "10.0.0.7", "10.0.0.1")), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := guard()
			if v := g.Check(test.frame); v != portguard.Pass {
				t.Fatal(v)
			}
			if got := g.ForGateway(test.frame, router); got != test.want {
				t.Fatalf("%t", got)
			}
		})
	}
}

func TestEveryVerdictHasAName(t *testing.T) {
	for v := portguard.Pass; v < portguard.Verdicts; v++ {
		if v.String() == "" || v.String() == "unknown" {
			t.Errorf("%d has none", v)
		}
	}
}

func TestABucketBoundsFramesAndBytes(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, test := range []struct {
		name     string
		bucket   portguard.Bucket
		size     int
		min, max int // frames that fit in ten seconds of trying a thousand times a second
	}{
		{"frames", portguard.Bucket{Frames: 100, Bytes: 1e9}, 60, 1000, 1030},
		{"bytes", portguard.Bucket{Frames: 1e6, Bytes: 10000}, 100, 1000, 1030},
		{"everything fits below the rate", portguard.Bucket{Frames: 2000, Bytes: 1e9}, 60, 10000, 10000},
		{"a frame larger than the burst fits now and then", portguard.Bucket{Frames: 1000, Bytes: 10000}, 10000, 9, 11},
	} {
		t.Run(test.name, func(t *testing.T) {
			passed := 0
			for i := range 10000 {
				if test.bucket.Take(start.Add(time.Duration(i)*time.Millisecond), test.size) {
					passed++
				}
			}
			if passed < test.min || passed > test.max {
				t.Fatalf("%d passed, want %d to %d", passed, test.min, test.max)
			}
		})
	}
}

// What passes is what the rest relies on.
func FuzzTheGuard(f *testing.F) {
	f.Add(ethernet(portguard.Broadcast, own, 0x0806, arp(1, own, "10.0.0.7", "10.0.0.1")))
	f.Add(ethernet(router, own, 0x0800, ip(6, "10.0.0.7", "192.168.1.1", flags(2))))
	f.Add(ethernet(peer, own, 0x0800, ip(17, "10.0.0.7", "10.0.0.8", nil)))
	f.Add([]byte{1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, frame []byte) {
		g := guard()
		if !g.Check(frame).Passes() {
			return
		}
		g.ForGateway(frame, router)
		if len(frame) < 34 || len(frame) > 1514 || portguard.MAC(frame[6:12]) != own {
			t.Fatalf("passed %x", frame)
		}
		switch kind := binary.BigEndian.Uint16(frame[12:]); kind {
		case 0x0806:
			if netip.AddrFrom4([4]byte(frame[28:32])) != address || portguard.MAC(frame[22:28]) != own {
				t.Fatalf("passed %x", frame)
			}
		case 0x0800:
			if netip.AddrFrom4([4]byte(frame[26:30])) != address || int(binary.BigEndian.Uint16(frame[16:])) > len(frame)-14 {
				t.Fatalf("passed %x", frame)
			}
		default:
			t.Fatalf("passed type %x", kind)
		}
	})
}
