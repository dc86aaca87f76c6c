package network_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/network"
	"github.com/vzctl/vzctl/sdk/plugintest"
	networkv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/network/v1"
	"google.golang.org/grpc"
)

func dial(t *testing.T, impl network.Network, features ...string) *network.Client {
	info := sdk.Info{Name: "fake", Capabilities: map[string][]string{network.CapabilityFeature: features}}
	return network.NewClient(plugintest.Dial(t, network.Plugin(info, impl)), info)
}

func TestAnEndpointComesThrough(t *testing.T) {
	want := network.Endpoint{
		ID: "e", Network: "n", MAC: "02:00:00:00:00:01", MTU: 1500,
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.64.2/24")},
		Link:      network.Link{UnixDatagram: &network.UnixDatagram{VMPath: "/run/vm", NetworkPath: "/run/net"}},
	}
	c := dial(t, &network.Fake{AttachFunc: func(_ context.Context, r network.AttachRequest) (network.Endpoint, error) {
		if r.EndpointID != "e" || r.AddressV4.IsValid() {
			t.Errorf("attach got %+v", r)
		}
		return want, nil
	}})
	got, err := c.Attach(t.Context(), network.AttachRequest{Network: "n", EndpointID: "e"})
	if err != nil || got.Addresses[0] != want.Addresses[0] || *got.Link.UnixDatagram != *want.Link.UnixDatagram {
		t.Errorf("attach gave %+v, %v", got, err)
	}
}

func TestOptionalCallsNeedTheCapabilityAndTheImplementation(t *testing.T) {
	for _, features := range [][]string{nil, {network.FeaturePublish, network.FeatureNames}} {
		c := dial(t, &network.Fake{}, features...)
		if _, err := c.Publish(t.Context(), "n", "e", nil); !errors.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "feature publish") {
			t.Errorf("publish gave %v", err)
		}
		if err := c.SetNames(t.Context(), "n", "e", nil); !errors.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "feature names") {
			t.Errorf("set names gave %v", err)
		}
	}
}

func TestRequestsAreChecked(t *testing.T) {
	c := dial(t, &network.Fake{})
	for name, r := range map[string]network.AttachRequest{
		"a MAC that is none":  {MAC: "02:00"},
		"a multicast address": {MAC: "01:00:00:00:00:01"},
	} {
		if _, err := c.Attach(t.Context(), r); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

// answers is a network that answers what no Go implementation can.
type answers struct {
	networkv1.UnimplementedNetworkServer
	endpoint *networkv1.Endpoint
}

func (a answers) Attach(context.Context, *networkv1.AttachRequest) (*networkv1.AttachResponse, error) {
	return &networkv1.AttachResponse{Endpoint: a.endpoint}, nil
}

func TestAnswersAreNotTrusted(t *testing.T) {
	for name, e := range map[string]*networkv1.Endpoint{
		"an address that is none":         {Addresses: []string{"192.168.64"}},
		"an address without prefix":       {Addresses: []string{"192.168.64.2"}},
		"an empty address":                {Addresses: []string{""}},
		"a route to nowhere":              {Routes: []*networkv1.Route{{Gateway: "10.0.0.1"}}},
		"a gateway that is none":          {Routes: []*networkv1.Route{{Destination: "0.0.0.0/0", Gateway: "gw"}}},
		"a DNS server that is none":       {Dns: &networkv1.Dns{Servers: []string{"dns"}}},
		"a MAC that is none":              {Mac: "x"},
		"a port that is none":             {Ports: []*networkv1.Port{{HostPort: 65536}}},
		"a relative link path":            {Link: &networkv1.Link{Link: &networkv1.Link_UnixDatagram{UnixDatagram: &networkv1.UnixDatagram{VmPath: "a", NetworkPath: "/b"}}}},
		"a link path longer than sockets": {Link: &networkv1.Link{Link: &networkv1.Link_UnixStream{UnixStream: &networkv1.UnixStream{NetworkPath: "/" + strings.Repeat("x", 108)}}}},
	} {
		info := sdk.Info{Name: "odd"}
		plugin := sdk.NewPlugin(sdk.Network, info, nil, func(r grpc.ServiceRegistrar) { networkv1.RegisterNetworkServer(r, answers{endpoint: e}) })
		c := network.NewClient(plugintest.Dial(t, plugin), info)
		if _, err := c.Attach(t.Context(), network.AttachRequest{}); !errors.Is(err, fault.Internal) {
			t.Errorf("%s gave %v", name, err)
		}
	}
}
