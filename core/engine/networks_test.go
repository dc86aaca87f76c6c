package engine

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/vzctl/vzctl/core/config"
	"github.com/vzctl/vzctl/core/store"
)

func TestNetworksAreShownAsTheyAreInUse(t *testing.T) {
	on := func(id, network, address string) store.Container {
		c := store.Container{ID: id, Network: network}
		if address != "" {
			c.Run = &store.Run{Addresses: []netip.Prefix{netip.MustParsePrefix(address)}}
		}
		return c
	}
	got := networkViews(map[string]config.Network{"idle": {SubnetV4: "10.1.0.0/24"}, "changed": {SubnetV4: "10.2.0.0/24"}}, []store.Container{
		on("a", "changed", "10.7.0.2/24"), on("b", "dropped", "10.3.0.2/16"), on("c", "", ""), on("d", "default", ""),
	})
	want := []NetworkView{
		{Name: "changed", Subnet: "10.7.0.0/24", Endpoints: []string{"a"}},
		{Name: "default", Endpoints: []string{"d"}},
		{Name: "dropped", Subnet: "10.3.0.0/16", Endpoints: []string{"b"}},
		{Name: "idle", Subnet: "10.1.0.0/24"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
