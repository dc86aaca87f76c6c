package destination_test

import (
	"net/netip"
	"testing"

	"github.com/vzctl/vzctl/plugins/user-network/destination"
)

func TestWhereAGuestMayGo(t *testing.T) {
	const nowhere = ""
	for _, test := range []struct {
		name                    string
		to                      string
		plain, loopback, lan, i string // what is dialed under no rule, with host loopback, with LAN, and both but internal
	}{
		{"the world", "198.51.100.1", "198.51.100.1", "198.51.100.1", "198.51.100.1", nowhere},
		{"the host's alias", "192.168.127.254", nowhere, "127.0.0.1", nowhere, nowhere},
		{"the gateway", "192.168.127.1", nowhere, nowhere, nowhere, nowhere},
		{"a neighbour", "192.168.127.9", nowhere, nowhere, nowhere, nowhere},
		{"loopback", "127.0.0.1", nowhere, nowhere, nowhere, nowhere},
		{"another loopback", "127.1.2.3", nowhere, nowhere, nowhere, nowhere},
		{"this host", "0.0.0.0", nowhere, nowhere, nowhere, nowhere},
		{"multicast", "224.0.0.251", nowhere, nowhere, nowhere, nowhere},
		{"broadcast", "255.255.255.255", nowhere, nowhere, nowhere, nowhere},
		{"private 10", "10.0.0.1", nowhere, nowhere, "10.0.0.1", nowhere},
		{"private 172", "172.31.0.1", nowhere, nowhere, "172.31.0.1", nowhere},
		{"beside private 172", "172.32.0.1", "172.32.0.1", "172.32.0.1", "172.32.0.1", nowhere},
		{"private 192", "192.168.0.1", nowhere, nowhere, "192.168.0.1", nowhere},
		{"carrier NAT", "100.64.0.1", nowhere, nowhere, "100.64.0.1", nowhere},
		{"a metadata service", "169.254.169.254", nowhere, nowhere, "169.254.169.254", nowhere},
		{"the host's own public address", "203.0.113.5", nowhere, nowhere, "203.0.113.5", nowhere},
		{"IPv6", "2001:db8::1", nowhere, nowhere, nowhere, nowhere},
		{"loopback as mapped IPv6", "::ffff:127.0.0.1", nowhere, nowhere, nowhere, nowhere},
	} {
		t.Run(test.name, func(t *testing.T) {
			for want, r := range map[*string]*destination.Rules{
				&test.plain: {}, &test.loopback: {HostLoopback: true}, &test.lan: {LAN: true}, &test.i: {HostLoopback: true, LAN: true, Internal: true},
			} {
				r.Subnet, r.HostAlias = netip.MustParsePrefix("192.168.127.0/24"), netip.MustParseAddr("192.168.127.254")
				r.HostAddresses = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("203.0.113.5")} }
				got, ok := r.Dial(netip.MustParseAddr(test.to))
				if ok != (*want != nowhere) || ok && got.String() != *want {
					t.Errorf("loopback %t, LAN %t, internal %t: dials %s %t, want %q", r.HostLoopback, r.LAN, r.Internal, got, ok, *want)
				}
			}
		})
	}
}
