package usernet_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/vzctl/vzctl/plugins/user-network/vmtest"
	"github.com/vzctl/vzctl/sdk/network"
)

var routerMAC = net.HardwareAddr{2, 0x76, 0x7a, 0, 0, 1}

// packet6 is an IPv6 packet around a payload, whose checksum is right if it is a message of ICMPv6.
func packet6(protocol byte, from, to netip.Addr, payload []byte) []byte {
	p := make([]byte, 40, 40+len(payload))
	p[0], p[6], p[7] = 0x60, protocol, 255
	binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	copy(p[8:], from.AsSlice())
	copy(p[24:], to.AsSlice())
	p = append(p, payload...)
	if protocol == 58 {
		m := header.ICMPv6(p[40:])
		m.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: m,
			Src: tcpip.AddrFrom16(from.As16()), Dst: tcpip.AddrFrom16(to.As16())}))
	}
	return p
}

func linkLocal(t *testing.T, e network.Endpoint) netip.Addr {
	m := mac(t, e)
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// advert says that an address is at a MAC.
func advert(target netip.Addr, at net.HardwareAddr) []byte {
	m := append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, target.AsSlice()...)
	return append(append(m, 2, 1), at...)
}

// routerAdvert says that the sender is the best router, of a prefix that guests should make addresses of.
func routerAdvert() []byte {
	m := []byte{134, 0, 0, 0, 64, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0}
	m = append(m, 3, 4, 64, 0xc0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	return append(m, netip.MustParseAddr("2001:db8:bad::").AsSlice()...)
}

func TestWhatAPortDoesNotAllowOfIPv6GoesNowhereAndIsTold(t *testing.T) {
	addr := func(e network.Endpoint) netip.Addr { return e.Addresses[1].Addr() }
	group, all := net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, netip.MustParseAddr("ff02::1")
	for _, test := range []struct {
		name  string
		frame func(self, other network.Endpoint) []byte
		told  string // empty: every guest sends such, it is only dropped
	}{
		{"with the gateway's address", func(self, other network.Endpoint) []byte {
			return frame(mac(t, other), mac(t, self), 0x86dd, packet6(17, gateway6(t, self), addr(other), make([]byte, 8)))
		}, "another source address"},
		{"a router's announcement to all", func(self, _ network.Endpoint) []byte {
			return frame(group, mac(t, self), 0x86dd, packet6(58, linkLocal(t, self), all, routerAdvert()))
		}, ""},
		{"a router's announcement to one", func(self, other network.Endpoint) []byte {
			return frame(mac(t, other), mac(t, self), 0x86dd, packet6(58, linkLocal(t, self), linkLocal(t, other), routerAdvert()))
		}, "in the name of a router"},
		{"a router's announcement behind options", func(self, other network.Endpoint) []byte {
			inner := packet6(58, linkLocal(t, self), linkLocal(t, other), routerAdvert())[40:]
			return frame(mac(t, other), mac(t, self), 0x86dd, packet6(60, linkLocal(t, self), linkLocal(t, other), append([]byte{58, 0, 1, 4, 0, 0, 0, 0}, inner...)))
		}, "extension headers"},
		{"that it has the gateway's address", func(self, other network.Endpoint) []byte {
			return frame(mac(t, other), mac(t, self), 0x86dd, packet6(58, addr(self), addr(other), advert(gateway6(t, self), mac(t, self))))
		}, "in the name of a router"},
		{"that it has the gateway's address, to all", func(self, _ network.Endpoint) []byte {
			return frame(group, mac(t, self), 0x86dd, packet6(58, addr(self), all, advert(gateway6(t, self), mac(t, self))))
		}, ""},
		{"a question in another's name", func(self, other network.Endpoint) []byte {
			q := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, gateway6(t, self).AsSlice()...)
			return frame(group, mac(t, self), 0x86dd, packet6(58, addr(other), all, append(append(q, 1, 1), mac(t, self)...)))
		}, "another source address"},
		{"to a unique local network", func(self, _ network.Endpoint) []byte {
			return frame(routerMAC, mac(t, self), 0x86dd, packet6(17, addr(self), netip.MustParseAddr("fd12::1"), make([]byte, 8)))
		}, "not allowed"},
		{"that a route to another is narrow", func(self, other network.Endpoint) []byte {
			m := append([]byte{2, 0, 0, 0, 0, 0, 5, 0}, packet6(6, addr(other), gateway6(t, self), make([]byte, 20))...)
			return frame(mac(t, other), mac(t, self), 0x86dd, packet6(58, addr(self), addr(other), m))
		}, "in the name of a router or another"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPlugin(t, network.Config{})
			told := events(t, p)
			hostile := startVM(t, p, "hostile")
			e := attach(t, p, network.AttachRequest{EndpointID: "victim"})
			victim := listen(t, e)
			if err := hostile.Raw(test.frame(hostile.Endpoint, e)); err != nil {
				t.Fatal(err)
			}
			if test.told != "" {
				violation(t, told, test.told)
			}
			// What comes behind it, and nothing else, arrives.
			if err := hostile.Raw(frame(mac(t, e), mac(t, hostile.Endpoint), 0x86dd, packet6(17, hostile.AddressV6(), addr(e), []byte("\x00\x01\x00\x02\x00\x0c\x00\x00last")))); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, victim); !strings.HasSuffix(got, "last") {
				t.Fatalf("it has got %x", got)
			}
			victim.Close()
			if err := vmtest.Start(t, e).Ping(within(t, soon), gateway6(t, e)); err != nil {
				t.Fatalf("another endpoint is harmed: %v", err)
			}
		})
	}
}

// listen is the VM's end of a link, raw.
func listen(t *testing.T, e network.Endpoint) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: e.Link.UnixDatagram.VMPath})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func receive(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(soon))
	b := make([]byte, 1<<16)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestANeighbourThatHasGoneIsNotAnsweredFor(t *testing.T) {
	p := newPlugin(t, network.Config{})
	a, b := startVM(t, p, "a"), startVM(t, p, "b")
	if err := a.Ping(within(t, soon), b.AddressV6()); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if err := p.Detach(t.Context(), "1", "n", "b"); err != nil {
		t.Fatal(err)
	}
	c := startVM(t, p, "c")
	if err := c.Ping(within(t, 300*time.Millisecond), b.AddressV6()); err == nil {
		t.Fatal("somebody answers")
	}
	// Its address is given to another, with another MAC: who asks again is told so.
	again := vmtest.Start(t, attach(t, p, network.AttachRequest{EndpointID: "d", AddressV6: b.AddressV6()}))
	if err := startVM(t, p, "e").Ping(within(t, soon), again.AddressV6()); err != nil {
		t.Fatal(err)
	}
}

func TestDetachCutsConnectionsOfIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newPlugin(t, network.Config{AllowHostLoopback: true})
	vm := startVM(t, p, "a")
	if _, err := vm.DialTCP(within(t, soon), netip.AddrPortFrom(hostAlias6(vm.Endpoint), l.Addr().(*net.TCPAddr).AddrPort().Port())); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := p.Detach(t.Context(), "1", "n", "a"); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(soon))
	if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Fatalf("the host's side is still open: %v", err)
	}
}
