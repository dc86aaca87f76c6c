package address_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vzctl/vzctl/plugins/user-network/address"
	"github.com/vzctl/vzctl/plugins/user-network/portguard"
)

func TestTheIPv6SubnetOfANetworkIsItsNames(t *testing.T) {
	first := address.ChooseV6("lab", nil)
	if first.Bits() != 64 || first.Addr().As16()[0] != 0xfd || first != first.Masked() {
		t.Fatalf("%s is not a /64 of a unique local network", first)
	}
	for _, test := range []struct {
		name, network, inUse string
		same                 bool
	}{
		{"it stays", "lab", "", true},
		{"another network has another", "lab2", "", false},
		{"a default route says nothing", "lab", "::/0", true},
		{"nor one to all unique local networks", "lab", "fd00::/8", true},
		{"one that is in use is not taken", "lab", first.String(), false},
		{"nor a part of one", "lab", netip.PrefixFrom(first.Addr(), 48).Masked().String(), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var inUse []netip.Prefix
			if test.inUse != "" {
				inUse = append(inUse, netip.MustParsePrefix(test.inUse))
			}
			if got := address.ChooseV6(test.network, inUse); got == first != test.same {
				t.Fatalf("%s, first %s", got, first)
			}
		})
	}
}

func TestInUseKnowsTheHostsIPv6(t *testing.T) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && !slices.Contains(address.InUseV6(), p.Masked()) {
			t.Errorf("%s is missing", p)
		}
	}
}

func TestThePlanOfAnIPv6Subnet(t *testing.T) {
	for _, test := range []struct{ subnet, gateway, wantGateway, wantAlias string }{
		{"fd00::/64", "", "fd00::1", "fd00::fe"},
		{"fd00::/64", "fd00::fe", "fd00::fe", "fd00::fd"},
		{"fd00::/120", "", "fd00::1", "fd00::fe"},
		{"fd00::/64", "fd01::1", "fd01::1", "fd00::fe"},
		{"2001:db8::/48", "fd01::1", "fd01::1", "2001:db8::fe"},
		{"fd00::/121", "", "", ""},
		{"fd00::/47", "", "", ""},
		{"fd00::1/64", "", "", ""},
		{"fe80::/64", "", "", ""},
		{"ff02::/64", "", "", ""},
		{"::/64", "", "", ""},
		{"::ffff:10.0.0.0/112", "", "", ""},
		{"10.0.0.0/24", "", "", ""},
		{"fd00::/64", "fd00::", "", ""},
		{"fd00::/64", "fd00::ffff:ffff:ffff:ffff", "", ""},
		{"fd00::/64", "fe80::1", "", ""},
		{"fd00::/64", "::1", "", ""},
		{"fd00::/64", "10.0.0.1", "", ""},
		{"fd00::/64", "::ffff:10.0.0.1", "", ""},
	} {
		var gateway netip.Addr
		if test.gateway != "" {
			gateway = netip.MustParseAddr(test.gateway)
		}
		plan, err := address.NewPlanV6(netip.MustParsePrefix(test.subnet), gateway)
		if test.wantGateway == "" {
			if err == nil {
				t.Errorf("%s, gateway %q: %+v", test.subnet, test.gateway, plan)
			}
			continue
		}
		if err != nil || plan.Gateway.String() != test.wantGateway || plan.HostAlias.String() != test.wantAlias {
			t.Errorf("%s, gateway %q: %+v %v", test.subnet, test.gateway, plan, err)
		}
	}
}

func TestAPoolOfIPv6BeginsBehindTheGateway(t *testing.T) {
	subnet := netip.MustParsePrefix("fd00::/64")
	p := address.NewPool(subnet, netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::fe"))
	for _, want := range []string{"fd00::2", "fd00::3"} {
		if a, err := p.Next(); err != nil || a.String() != want {
			t.Fatalf("%s %v, want %s", a, err, want)
		}
	}
	for a, want := range map[string]error{"fd00::2": address.ErrTaken, "fd00::fe": address.ErrTaken, "fd00::": address.ErrOutside, "fd01::5": address.ErrOutside,
		"fd00::ffff:ffff:ffff:ffff": address.ErrOutside, "10.0.0.1": address.ErrOutside, "fd00::77:0:1": nil} {
		if err := p.Take(netip.MustParseAddr(a)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", a, err, want)
		}
	}
	small := address.NewPool(netip.MustParsePrefix("fd00::/120"), netip.MustParseAddr("fd01::1"))
	for range 254 {
		if _, err := small.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := small.Next(); !errors.Is(err, address.ErrExhausted) {
		t.Fatal(err)
	}
}

func TestTheLinkLocalAddressIsMadeOfTheMAC(t *testing.T) {
	if got := address.LinkLocal(portguard.MAC{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}); got.String() != "fe80::5054:ff:fe12:3456" {
		t.Fatal(got)
	}
}
