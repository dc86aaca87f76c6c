package address_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/vzctl/vzctl/plugins/user-network/address"
)

func TestTheSubnetOverlapsNothingInUse(t *testing.T) {
	for _, test := range []struct {
		name  string
		inUse []string
		want  string
	}{
		{"the first of all", nil, "192.168.127.0/24"},
		{"a default route says nothing", []string{"0.0.0.0/0"}, "192.168.127.0/24"},
		{"the next when it is in use", []string{"192.168.127.0/25"}, "192.168.128.0/24"},
		{"another range when the whole is in use", []string{"192.168.0.0/16"}, "10.254.0.0/24"},
		{"the first when everything is in use", []string{"192.168.0.0/16", "10.0.0.0/8"}, "192.168.127.0/24"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var inUse []netip.Prefix
			for _, p := range test.inUse {
				inUse = append(inUse, netip.MustParsePrefix(p))
			}
			if got := address.Choose(inUse); got.String() != test.want {
				t.Fatalf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestInUseKnowsLoopback(t *testing.T) {
	for _, p := range address.InUse() {
		if p.Contains(netip.MustParseAddr("127.0.0.1")) {
			return
		}
	}
	t.Fatal("loopback is missing")
}

func TestAPoolGivesEachAddressOnceAndLetsItRest(t *testing.T) {
	subnet := netip.MustParsePrefix("10.0.0.0/29")
	p := address.NewPool(subnet, netip.MustParseAddr("10.0.0.1"))
	if err := p.Take(netip.MustParseAddr("10.0.0.3")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 4 {
		a, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.String())
		if a == netip.MustParseAddr("10.0.0.2") {
			p.Release(a)
		}
	}
	for i, want := range []string{"10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"} {
		if got[i] != want {
			t.Fatalf("gave %v", got)
		}
	}
	if a, err := p.Next(); err != nil || a.String() != "10.0.0.2" {
		t.Fatal(a, err)
	}
	if _, err := p.Next(); !errors.Is(err, address.ErrExhausted) {
		t.Fatal(err)
	}
}

func TestThePlanOfASubnet(t *testing.T) {
	for _, test := range []struct{ subnet, gateway, wantGateway, wantAlias string }{
		{"10.0.0.0/24", "", "10.0.0.1", "10.0.0.254"},
		{"10.0.0.0/24", "10.0.0.254", "10.0.0.254", "10.0.0.253"},
		{"10.0.0.8/29", "", "10.0.0.9", "10.0.0.14"},
		{"10.0.0.0/8", "10.5.5.5", "10.5.5.5", "10.255.255.254"},
	} {
		var gateway netip.Addr
		if test.gateway != "" {
			gateway = netip.MustParseAddr(test.gateway)
		}
		plan, err := address.NewPlan(netip.MustParsePrefix(test.subnet), gateway)
		if err != nil || plan.Gateway.String() != test.wantGateway || plan.HostAlias.String() != test.wantAlias {
			t.Errorf("%s, gateway %q: %+v %v", test.subnet, test.gateway, plan, err)
		}
	}
}

func TestRandomMACsAreLocalAndUnicast(t *testing.T) {
	for range 100 {
		m := address.RandomMAC()
		if m[0]&3 != 2 {
			t.Fatal(address.FormatMAC(m))
		}
		if again, err := address.ParseMAC(address.FormatMAC(m)); err != nil || again != m {
			t.Fatal(again, err)
		}
	}
}
