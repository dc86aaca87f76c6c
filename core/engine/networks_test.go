package engine

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/vzctl/vzctl/core/config"
	"github.com/vzctl/vzctl/core/store"
)

func TestNetworksAreShownAsTheyAreInUse(t *testing.T) {
	on := func(id, network string, addresses ...string) store.Container {
		c := store.Container{ID: id, Network: network}
		for _, a := range addresses {
			if c.Run == nil {
				c.Run = new(store.Run)
			}
			c.Run.Addresses = append(c.Run.Addresses, netip.MustParsePrefix(a))
		}
		return c
	}
	got := networkViews(map[string]config.Network{"idle": {SubnetV4: "10.1.0.0/24", SubnetV6: "none"}, "changed": {SubnetV4: "10.2.0.0/24", SubnetV6: "fd01::/64"},
		"six": {SubnetV4: "none", SubnetV6: "fd02::/64"}}, []store.Container{
		on("a", "changed", "10.7.0.2/24", "fd07::2/64"), on("b", "dropped", "fd03::2/64"), on("c", ""), on("d", "default"), on("e", "four", "10.4.0.2/16"),
	})
	want := []NetworkView{
		{Name: "changed", Subnet: "10.7.0.0/24", SubnetV6: "fd07::/64", Endpoints: []string{"a"}},
		{Name: "default", Endpoints: []string{"d"}},
		{Name: "dropped", SubnetV6: "fd03::/64", Endpoints: []string{"b"}},
		{Name: "four", Subnet: "10.4.0.0/16", Endpoints: []string{"e"}},
		{Name: "idle", Subnet: "10.1.0.0/24"},
		{Name: "six", SubnetV6: "fd02::/64"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
