package usernet_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/plugins/user-network/usernet"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/network"
)

func TestConfigsThatCannotBeServedAreRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		config network.Config
		reason fault.Reason
	}{
		{"a name that is not a label", network.Config{Name: "a/b"}, fault.Invalid},
		{"no name", network.Config{}, fault.Invalid},
		{"a subnet that is none", network.Config{Name: "n", SubnetV4: "10.0.0.0"}, fault.Invalid},
		{"a subnet with host bits", network.Config{Name: "n", SubnetV4: "10.0.0.1/24"}, fault.Invalid},
		{"a subnet too small", network.Config{Name: "n", SubnetV4: "10.0.0.0/30"}, fault.Invalid},
		{"a subnet of loopback", network.Config{Name: "n", SubnetV4: "127.0.0.0/8"}, fault.Invalid},
		{"a gateway elsewhere", network.Config{Name: "n", SubnetV4: "10.0.0.0/24", GatewayV4: "10.0.1.1"}, fault.Invalid},
		{"the broadcast address as gateway", network.Config{Name: "n", SubnetV4: "10.0.0.0/24", GatewayV4: "10.0.0.255"}, fault.Invalid},
		{"an MTU too small", network.Config{Name: "n", MTU: 100}, fault.Invalid},
		{"an unknown option", network.Config{Name: "n", Options: map[string]string{"x": "y"}}, fault.Invalid},
		{"a rate of nothing", network.Config{Name: "n", Options: map[string]string{usernet.OptionFrames: "0"}}, fault.Invalid},
		{"a resolver by name", network.Config{Name: "n", Options: map[string]string{usernet.OptionDNSServers: "dns.example"}}, fault.Invalid},
		{"an internal network with a way out", network.Config{Name: "n", Internal: true, AllowLAN: true}, fault.Invalid},
		{"no family at all", network.Config{Name: "n", SubnetV4: "none", SubnetV6: "none"}, fault.Invalid},
		{"a gateway without IPv4", network.Config{Name: "n", SubnetV4: "none", GatewayV4: "10.0.0.1"}, fault.Invalid},
		{"a gateway without IPv6", network.Config{Name: "n", SubnetV6: "none", GatewayV6: "fd00::1"}, fault.Invalid},
		{"an IPv6 subnet that is none", network.Config{Name: "n", SubnetV6: "fd00::"}, fault.Invalid},
		{"an IPv6 subnet of IPv4", network.Config{Name: "n", SubnetV6: "10.0.0.0/24"}, fault.Invalid},
		{"an IPv6 subnet of link-local addresses", network.Config{Name: "n", SubnetV6: "fe80::/64"}, fault.Invalid},
		{"an IPv6 gateway that is none", network.Config{Name: "n", GatewayV6: "gw"}, fault.Invalid},
		{"a link-local gateway", network.Config{Name: "n", GatewayV6: "fe80::1"}, fault.Invalid},
		{"an MTU too small for an IPv6 subnet", network.Config{Name: "n", SubnetV6: "fd00::/64", MTU: 1279}, fault.Invalid},
		{"an MTU too small for IPv6 alone", network.Config{Name: "n", SubnetV4: "none", MTU: 1279}, fault.Invalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := new(usernet.Plugin)
			if _, err := p.Create(t.Context(), "1", test.config); !errors.Is(err, test.reason) {
				t.Fatalf("%v, want %s", err, test.reason)
			}
		})
	}
}

func TestCreateIsRepeatable(t *testing.T) {
	p := newPlugin(t, network.Config{})
	list, err := p.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	for _, config := range []network.Config{{Name: "n"}, {Name: "n", SubnetV4: list[0].SubnetV4.String(), GatewayV4: list[0].GatewayV4.String(), MTU: list[0].MTU}} {
		if again, err := p.Create(t.Context(), "2", config); err != nil || again != list[0] {
			t.Fatalf("%+v, want %+v: %v", again, list[0], err)
		}
	}
	if _, err := p.Create(t.Context(), "3", network.Config{Name: "n", AllowLAN: true}); !errors.Is(err, fault.AlreadyExists) {
		t.Fatalf("another config: %v", err)
	}
}

func TestNetworksOfOneProcessChooseDifferentSubnets(t *testing.T) {
	p := newPlugin(t, network.Config{})
	if _, err := p.Create(t.Context(), "1", network.Config{Name: "m"}); err != nil {
		t.Fatal(err)
	}
	list, err := p.List(t.Context())
	if err != nil || len(list) != 2 || list[0].SubnetV4.Overlaps(list[1].SubnetV4) {
		t.Fatal(list, err)
	}
}

func TestAttachIsRepeatableAndReplayable(t *testing.T) {
	dir := shortDir(t)
	first := newPlugin(t, network.Config{SubnetV4: "10.9.0.0/24"})
	e := attach(t, first, network.AttachRequest{EndpointID: "a", LinkDir: dir})
	again := attach(t, first, network.AttachRequest{EndpointID: "a", LinkDir: dir})
	if e.MAC != again.MAC || e.Addresses[0] != again.Addresses[0] || *e.Link.UnixDatagram != *again.Link.UnixDatagram {
		t.Fatalf("%+v, first %+v", again, e)
	}
	info, err := os.Lstat(e.Link.UnixDatagram.NetworkPath)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Fatalf("the socket has mode %v: %v", info.Mode(), err)
	}
	// A new process, while the old one's socket still lies there.
	second := newPlugin(t, network.Config{SubnetV4: "10.9.0.0/24"})
	replayed := attach(t, second, network.AttachRequest{EndpointID: "a", LinkDir: dir, MAC: e.MAC, AddressV4: e.Addresses[0].Addr()})
	if e.MAC != replayed.MAC || e.Addresses[0] != replayed.Addresses[0] || *e.Link.UnixDatagram != *replayed.Link.UnixDatagram {
		t.Fatalf("%+v, first %+v", replayed, e)
	}
	// The old one's end does not take the new one's socket away.
	if err := first.Detach(t.Context(), "1", "n", "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(e.Link.UnixDatagram.NetworkPath); err != nil {
		t.Fatal(err)
	}
}

func TestAttachmentsThatCannotBeAreRefused(t *testing.T) {
	dir := shortDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	p := newPlugin(t, network.Config{SubnetV4: "10.9.0.0/24", SubnetV6: "fd00::/64"})
	attach(t, p, network.AttachRequest{EndpointID: "a", LinkDir: dir, MAC: "02:00:00:00:00:01", AddressV4: netip.MustParseAddr("10.9.0.9"),
		AddressV6: netip.MustParseAddr("fd00::9")})
	for _, test := range []struct {
		name    string
		request network.AttachRequest
		reason  fault.Reason
	}{
		{"an address that is taken", network.AttachRequest{AddressV4: netip.MustParseAddr("10.9.0.9")}, fault.AlreadyExists},
		{"the gateway's address", network.AttachRequest{AddressV4: netip.MustParseAddr("10.9.0.1")}, fault.AlreadyExists},
		{"the host's alias", network.AttachRequest{AddressV4: netip.MustParseAddr("10.9.0.254")}, fault.AlreadyExists},
		{"the broadcast address", network.AttachRequest{AddressV4: netip.MustParseAddr("10.9.0.255")}, fault.Invalid},
		{"an address elsewhere", network.AttachRequest{AddressV4: netip.MustParseAddr("10.9.1.9")}, fault.Invalid},
		{"an IPv6 address that is taken", network.AttachRequest{AddressV6: netip.MustParseAddr("fd00::9")}, fault.AlreadyExists},
		{"the IPv6 gateway's", network.AttachRequest{AddressV6: netip.MustParseAddr("fd00::1")}, fault.AlreadyExists},
		{"an IPv6 address elsewhere", network.AttachRequest{AddressV6: netip.MustParseAddr("fd01::9")}, fault.Invalid},
		{"an address of the other family", network.AttachRequest{AddressV6: netip.MustParseAddr("10.9.0.10")}, fault.Invalid},
		{"a MAC that is taken", network.AttachRequest{MAC: "02:00:00:00:00:01"}, fault.AlreadyExists},
		{"a multicast MAC", network.AttachRequest{MAC: "03:00:00:00:00:01"}, fault.Invalid},
		{"a MAC that is none", network.AttachRequest{MAC: "x"}, fault.Invalid},
		{"other kinds of links", network.AttachRequest{LinkTypes: []string{network.LinkTap}}, fault.Unsupported},
		{"published ports", network.AttachRequest{Ports: []network.Port{{EndpointPort: 80}}}, fault.Unsupported},
		{"names", network.AttachRequest{Names: []string{"x"}}, fault.Unsupported},
		{"no such network", network.AttachRequest{Network: "m"}, fault.NotFound},
		{"no id", network.AttachRequest{EndpointID: "-"}, fault.Invalid},
		{"an attached id with another address", network.AttachRequest{EndpointID: "a", AddressV4: netip.MustParseAddr("10.9.0.10")}, fault.AlreadyExists},
		{"an attached id with another IPv6 address", network.AttachRequest{EndpointID: "a", AddressV6: netip.MustParseAddr("fd00::10")}, fault.AlreadyExists},
		{"a relative link directory", network.AttachRequest{LinkDir: "x"}, fault.Invalid},
		{"a link directory that is a file", network.AttachRequest{LinkDir: file}, fault.Invalid},
		{"a link directory open to others", network.AttachRequest{LinkDir: open}, fault.Invalid},
		{"a link directory with a long path", network.AttachRequest{LinkDir: "/" + strings.Repeat("x", 100)}, fault.Invalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := test.request
			if r.Network == "" {
				r.Network = "n"
			}
			if r.LinkDir == "" {
				r.LinkDir = dir
			}
			switch r.EndpointID {
			case "":
				r.EndpointID = "b"
			case "-":
				r.EndpointID = ""
			}
			if e, err := p.Attach(t.Context(), r); !errors.Is(err, test.reason) {
				t.Fatalf("%+v %v, want %s", e, err, test.reason)
			}
			if list, err := p.ListEndpoints(t.Context(), "n"); err != nil || len(list) != 1 {
				t.Fatalf("left behind: %+v %v", list, err)
			}
		})
	}
}

func TestAFileInTheWayOfTheSocketStays(t *testing.T) {
	dir := shortDir(t)
	p := newPlugin(t, network.Config{})
	e := attach(t, p, network.AttachRequest{EndpointID: "a", LinkDir: dir})
	if err := p.Detach(t.Context(), "1", "n", "a"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.Link.UnixDatagram.NetworkPath, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Attach(t.Context(), network.AttachRequest{Network: "n", EndpointID: "a", LinkDir: dir}); !errors.Is(err, fault.FailedPrecondition) {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(e.Link.UnixDatagram.NetworkPath); err != nil || string(b) != "mine" {
		t.Fatal(b, err)
	}
}

func TestAnExhaustedSubnetSaysSoAndRecovers(t *testing.T) {
	dir := shortDir(t)
	p := newPlugin(t, network.Config{SubnetV4: "10.9.0.0/29"})
	for _, id := range []string{"a", "b", "c", "d"} {
		attach(t, p, network.AttachRequest{EndpointID: id, LinkDir: dir})
	}
	_, err := p.Attach(t.Context(), network.AttachRequest{Network: "n", EndpointID: "e", LinkDir: dir})
	if !errors.Is(err, fault.NoSpace) || !strings.Contains(err.Error(), "10.9.0.0/29 has no free address") {
		t.Fatal(err)
	}
	if err := p.Detach(t.Context(), "1", "n", "b"); err != nil {
		t.Fatal(err)
	}
	attach(t, p, network.AttachRequest{EndpointID: "e", LinkDir: dir})
}

func TestANetworkInUseIsNotDeleted(t *testing.T) {
	p := newPlugin(t, network.Config{})
	attach(t, p, network.AttachRequest{EndpointID: "a"})
	if err := p.Delete(t.Context(), "1", "n"); !errors.Is(err, fault.InUse) {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Detach(t.Context(), "1", "n", "a"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := p.Delete(t.Context(), "1", "n"); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := p.List(t.Context()); err != nil || len(list) != 0 {
		t.Fatal(list, err)
	}
	if err := p.Detach(t.Context(), "1", "n", "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.ListEndpoints(t.Context(), "n"); !errors.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
}

func TestAWatchEndsWithItsNetworkOrItsCaller(t *testing.T) {
	p := newPlugin(t, network.Config{})
	if err := p.Watch(t.Context(), "m", nil); !errors.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Watch(t.Context(), "n", func(network.Event) {}) }()
	if err := p.Delete(t.Context(), "1", "n"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil && !errors.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
	if _, err := p.Create(t.Context(), "1", network.Config{Name: "n"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Watch(ctx, "n", func(network.Event) {}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestWhatIsNotOfferedIsNotThere(t *testing.T) {
	var impl any = new(usernet.Plugin)
	if _, ok := impl.(network.Publisher); ok {
		t.Error("it publishes ports")
	}
	if _, ok := impl.(network.Namer); ok {
		t.Error("it sets names")
	}
}
