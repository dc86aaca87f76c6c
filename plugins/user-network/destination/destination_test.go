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

		{"the world", "2606:4700::1", "2606:4700::1", "2606:4700::1", "2606:4700::1", nowhere},
		{"the host's alias of IPv6", "fd00::fe", nowhere, "::1", nowhere, nowhere},
		{"the gateway of IPv6", "fd00::1", nowhere, nowhere, nowhere, nowhere},
		{"a neighbour of IPv6", "fd00::9", nowhere, nowhere, nowhere, nowhere},
		{"a gateway outside the subnet", "2001:db8:9::1", nowhere, nowhere, nowhere, nowhere},
		{"beside it", "2001:db8:9::2", "2001:db8:9::2", "2001:db8:9::2", "2001:db8:9::2", nowhere},
		{"loopback of IPv6", "::1", nowhere, nowhere, nowhere, nowhere},
		{"no address", "::", nowhere, nowhere, nowhere, nowhere},
		{"loopback, mapped", "::ffff:127.0.0.1", nowhere, nowhere, nowhere, nowhere},
		{"private 10, mapped", "::ffff:10.0.0.1", nowhere, nowhere, nowhere, nowhere},
		{"the world, mapped", "::ffff:198.51.100.1", nowhere, nowhere, nowhere, nowhere},
		{"loopback, compatible", "::127.0.0.1", nowhere, nowhere, nowhere, nowhere},
		{"loopback, translated", "::ffff:0:127.0.0.1", nowhere, nowhere, nowhere, nowhere},
		{"multicast of IPv6", "ff02::1", nowhere, nowhere, nowhere, nowhere},
		{"link-local", "fe80::1", nowhere, nowhere, nowhere, nowhere},
		{"link-local of an interface", "fe80::1%eth0", nowhere, nowhere, nowhere, nowhere},
		{"site-local", "fec0::1", nowhere, nowhere, nowhere, nowhere},
		{"discard", "100::1", nowhere, nowhere, nowhere, nowhere},
		{"another unique local network", "fd12:3456::1", nowhere, nowhere, "fd12:3456::1", nowhere},
		{"a metadata service of IPv6", "fd00:ec2::254", nowhere, nowhere, "fd00:ec2::254", nowhere},
		{"the host's own address of IPv6", "2001:db8:5::5", nowhere, nowhere, "2001:db8:5::5", nowhere},
		{"a host beside it", "2001:db8:5::77", nowhere, nowhere, "2001:db8:5::77", nowhere},
		{"a network beside that", "2001:db8:6::77", "2001:db8:6::77", "2001:db8:6::77", "2001:db8:6::77", nowhere},
		{"the world by NAT64", "64:ff9b::198.51.100.1", "64:ff9b::c633:6401", "64:ff9b::c633:6401", "64:ff9b::c633:6401", nowhere},
		{"private 10 by NAT64", "64:ff9b::10.0.0.1", nowhere, nowhere, "64:ff9b::a00:1", nowhere},
		{"loopback by NAT64", "64:ff9b::127.0.0.1", nowhere, nowhere, nowhere, nowhere},
		{"the host by NAT64", "64:ff9b::203.0.113.5", nowhere, nowhere, "64:ff9b::cb00:7105", nowhere},
		{"local NAT64", "64:ff9b:1::198.51.100.1", nowhere, nowhere, "64:ff9b:1::c633:6401", nowhere},
		{"private 192 by 6to4", "2002:c0a8:1::1", nowhere, nowhere, "2002:c0a8:1::1", nowhere},
		{"loopback by 6to4", "2002:7f00:1::1", nowhere, nowhere, nowhere, nowhere},
		{"Teredo", "2001:0:c633:6401::1", nowhere, nowhere, "2001:0:c633:6401::1", nowhere},
	} {
		t.Run(test.name, func(t *testing.T) {
			for want, r := range map[*string]*destination.Rules{
				&test.plain: {}, &test.loopback: {HostLoopback: true}, &test.lan: {LAN: true}, &test.i: {HostLoopback: true, LAN: true, Internal: true},
			} {
				r.Own = []netip.Prefix{netip.MustParsePrefix("192.168.127.0/24"), netip.MustParsePrefix("fd00::/64"), netip.MustParsePrefix("2001:db8:9::1/128")}
				r.HostAliases = []netip.Addr{netip.MustParseAddr("192.168.127.254"), netip.MustParseAddr("fd00::fe")}
				r.HostAddresses = func() []netip.Prefix {
					return []netip.Prefix{netip.MustParsePrefix("203.0.113.5/24"), netip.MustParsePrefix("2001:db8:5::5/64")}
				}
				got, ok := r.Dial(netip.MustParseAddr(test.to))
				if ok != (*want != nowhere) || ok && got.String() != *want {
					t.Errorf("loopback %t, LAN %t, internal %t: dials %s %t, want %q", r.HostLoopback, r.LAN, r.Internal, got, ok, *want)
				}
			}
		})
	}
}
