package sandbox

import (
	"net/netip"
	"testing"

	"google.golang.org/protobuf/proto"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/network"
)

func TestChosenDNSComesInPlaceOfTheNetworks(t *testing.T) {
	of := func() *guestv1.Dns {
		return &guestv1.Dns{Servers: []string{"192.0.2.1"}, Search: []string{"net"}, Options: []string{"rotate"}, Domain: "net"}
	}
	server := network.DNS{Servers: []netip.Addr{netip.MustParseAddr("9.9.9.9")}}
	for _, test := range []struct {
		name    string
		network *guestv1.Dns
		chosen  network.DNS
		want    *guestv1.Dns
	}{
		{"nothing chosen", of(), network.DNS{}, of()},
		{"no network and nothing chosen", nil, network.DNS{}, nil},
		{"no network", nil, server, &guestv1.Dns{Servers: []string{"9.9.9.9"}}},
		{"a server", of(), server, &guestv1.Dns{Servers: []string{"9.9.9.9"}, Search: []string{"net"}, Options: []string{"rotate"}, Domain: "net"}},
		{"a search list, which the domain would be part of", of(), network.DNS{Search: []string{"a.b"}},
			&guestv1.Dns{Servers: []string{"192.0.2.1"}, Search: []string{"a.b"}, Options: []string{"rotate"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := chosenDNS(test.network, test.chosen); !proto.Equal(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestAFilterIsKeptWhole(t *testing.T) {
	f := Filter{Program: []byte("program"), Flags: 1 << 17}
	if got, err := ParseFilter(f.Format()); err != nil || got.Flags != f.Flags || string(got.Program) != "program" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, {1, 2, 3, 4}} {
		if _, err := ParseFilter(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
