package usernet_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/vzctl/vzctl/plugins/user-network/vmtest"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/network"
)

// networks6 are those that have IPv6, in all ways.
var networks6 = map[string]network.Config{
	"beside IPv4":                   {},
	"alone":                         {SubnetV4: "none"},
	"with a gateway outside":        {SubnetV6: "fd00::/64", GatewayV6: "fd99::1"},
	"alone, with a gateway outside": {SubnetV4: "none", SubnetV6: "fd00::/64", GatewayV6: "fd99::1"},
	"of 120 bits":                   {SubnetV6: "2001:db8::/120", GatewayV6: "2001:db8::9"},
}

// gateway6 is where the default route of IPv6 goes.
func gateway6(t testing.TB, e network.Endpoint) netip.Addr {
	t.Helper()
	for _, r := range e.Routes {
		if r.Destination.String() == "::/0" {
			return r.Gateway
		}
	}
	t.Fatalf("no default route in %v", e.Routes)
	return netip.Addr{}
}

func hostAlias6(e network.Endpoint) netip.Addr {
	a := e.Addresses[len(e.Addresses)-1].Masked().Addr().As16()
	a[15] = 0xfe
	return netip.AddrFrom16(a)
}

func TestEndpointsHaveAddressesOfEachFamily(t *testing.T) {
	for _, test := range []struct {
		name      string
		config    network.Config
		addresses string
		routes    string
		dns       string
	}{
		{"both", network.Config{SubnetV4: "10.9.0.0/24", SubnetV6: "fd00::/64"}, "10.9.0.2/24 fd00::2/64", "0.0.0.0/0 10.9.0.1, ::/0 fd00::1", "10.9.0.1"},
		{"a gateway of ones own", network.Config{SubnetV4: "none", SubnetV6: "fd00::/64", GatewayV6: "fd00::77"}, "fd00::1/64", "::/0 fd00::77", "fd00::77"},
		{"a gateway outside", network.Config{SubnetV4: "10.9.0.0/24", SubnetV6: "fd00::/64", GatewayV6: "fd99::1"}, "10.9.0.2/24 fd00::1/64",
			"0.0.0.0/0 10.9.0.1, fd99::1/128 invalid IP, ::/0 fd99::1", "10.9.0.1"},
		{"IPv6 alone", network.Config{SubnetV4: "none", SubnetV6: "fd00::/64"}, "fd00::2/64", "::/0 fd00::1", "fd00::1"},
		{"IPv6 alone, internal", network.Config{SubnetV4: "none", SubnetV6: "fd00::/64", Internal: true}, "fd00::2/64", "", ""},
		{"IPv4 alone", network.Config{SubnetV4: "10.9.0.0/24", SubnetV6: "none"}, "10.9.0.2/24", "0.0.0.0/0 10.9.0.1", "10.9.0.1"},
		{"an MTU that is too small for IPv6", network.Config{SubnetV4: "10.9.0.0/24", MTU: 1279}, "10.9.0.2/24", "0.0.0.0/0 10.9.0.1", "10.9.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := attach(t, newPlugin(t, test.config), network.AttachRequest{EndpointID: "a"})
			var addresses, routes, dns []string
			for _, a := range e.Addresses {
				addresses = append(addresses, a.String())
			}
			for _, r := range e.Routes {
				routes = append(routes, r.Destination.String()+" "+r.Gateway.String())
			}
			for _, d := range e.DNS.Servers {
				dns = append(dns, d.String())
			}
			got := []string{strings.Join(addresses, " "), strings.Join(routes, ", "), strings.Join(dns, " ")}
			if want := []string{test.addresses, test.routes, test.dns}; !slices.Equal(got, want) {
				t.Fatalf("%q, want %q", got, want)
			}
		})
	}
}

func TestAnIPv6NetworkHasTheSameSubnetEachTime(t *testing.T) {
	subnet := func() netip.Prefix {
		list, err := newPlugin(t, network.Config{}).List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return list[0].SubnetV6
	}
	if first, second := subnet(), subnet(); first != second || !first.IsValid() {
		t.Fatalf("%s, then %s", first, second)
	}
}

func TestEverythingGoesOverIPv6(t *testing.T) {
	listener, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go serveEcho(listener)
	port := listener.Addr().(*net.TCPAddr).AddrPort().Port()
	datagrams, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := datagrams.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = datagrams.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	for name, config := range networks6 {
		t.Run(name, func(t *testing.T) {
			config.AllowHostLoopback = true
			p := newPlugin(t, config)
			a, b := startVM(t, p, "a"), startVM(t, p, "b")
			if err := a.Ping(within(t, soon), gateway6(t, a.Endpoint)); err != nil {
				t.Fatalf("the gateway does not answer: %v", err)
			}
			if err := a.Ping(within(t, soon), b.AddressV6()); err != nil {
				t.Fatalf("another endpoint does not answer: %v", err)
			}
			l, err := b.ListenOn(b.AddressV6(), 80)
			if err != nil {
				t.Fatal(err)
			}
			go serveEcho(l)
			c, err := a.DialTCP(within(t, soon), netip.AddrPortFrom(b.AddressV6(), 80))
			if err != nil {
				t.Fatalf("to another endpoint: %v", err)
			}
			exchange(t, c, 1<<20)
			c.Close()
			l.Close()
			c, err = a.DialTCP(within(t, soon), netip.AddrPortFrom(hostAlias6(a.Endpoint), port))
			if err != nil {
				t.Fatalf("to the host: %v", err)
			}
			exchange(t, c, 1<<20)
			c.Close()
			u, err := a.DialUDP(netip.AddrPortFrom(hostAlias6(a.Endpoint), datagrams.LocalAddr().(*net.UDPAddr).AddrPort().Port()))
			if err != nil {
				t.Fatal(err)
			}
			defer u.Close()
			for _, size := range []int{1, 1400, 40000} {
				_ = u.SetDeadline(time.Now().Add(soon))
				sent, got := bytes.Repeat([]byte{byte(size)}, size), make([]byte, 1<<16)
				if _, err := u.Write(sent); err != nil {
					t.Fatal(err)
				}
				if n, err := u.Read(got); err != nil || !bytes.Equal(got[:n], sent) {
					t.Fatalf("of %d bytes came back %d: %v", size, n, err)
				}
			}
			for _, overTCP := range []bool{false, true} {
				server := netip.AddrPortFrom(a.Endpoint.DNS.Servers[0], 53)
				var d net.Conn
				if overTCP {
					d, err = a.DialTCP(within(t, soon), server)
				} else {
					d, err = a.DialUDP(server)
				}
				if err != nil {
					t.Fatal(err)
				}
				m := ask(t, d, "gateway.vzctl.internal.", dnsmessage.TypeAAAA, overTCP)
				if len(m.Answers) != 1 || netip.AddrFrom16(m.Answers[0].Body.(*dnsmessage.AAAAResource).AAAA) != gateway6(t, a.Endpoint) {
					t.Fatalf("over TCP %t: %v", overTCP, m.Answers)
				}
				d.Close()
			}
		})
	}
}

func TestTCPOverIPv6IsRefusedAtOnce(t *testing.T) {
	listener, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).AddrPort().Port()
	to := func(text string) func(network.Endpoint) netip.Addr {
		return func(network.Endpoint) netip.Addr { return netip.MustParseAddr(text) }
	}
	for _, test := range []struct {
		name   string
		config network.Config
		to     func(network.Endpoint) netip.Addr
	}{
		{"to the host's loopback unless allowed", network.Config{}, hostAlias6},
		{"to the host's loopback when only the LAN is allowed", network.Config{AllowLAN: true}, hostAlias6},
		{"to another unique local network unless allowed", network.Config{}, to("fd12::1")},
		{"to a private network by NAT64 unless allowed", network.Config{}, to("64:ff9b::10.0.0.1")},
		{"to the gateway itself", network.Config{AllowHostLoopback: true, AllowLAN: true}, func(e network.Endpoint) netip.Addr { return gateway6(t, e) }},
		{"to the world on an internal network", network.Config{Internal: true}, to("2001:db8::1")},
		{"to where nobody listens", network.Config{AllowHostLoopback: true}, func(e network.Endpoint) netip.Addr { listener.Close(); return hostAlias6(e) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPlugin(t, test.config)
			e := attach(t, p, network.AttachRequest{EndpointID: "a"})
			if test.config.Internal { // what a guest tries though it was told no way out
				e.Routes = []network.Route{{Destination: netip.MustParsePrefix("::/0"), Gateway: e.Addresses[1].Masked().Addr().Next()}}
			}
			c, err := vmtest.Start(t, e).DialTCP(within(t, soon), netip.AddrPortFrom(test.to(e), port))
			if err == nil {
				c.Close()
				t.Fatal("connected")
			}
			if !strings.Contains(err.Error(), "refused") {
				t.Fatalf("not refused: %v", err)
			}
		})
	}
}

func TestAReplayGivesTheAddressesOfEachFamilyAgain(t *testing.T) {
	config := network.Config{SubnetV4: "10.9.0.0/24", SubnetV6: "fd00::/64"}
	first := newPlugin(t, config)
	attach(t, first, network.AttachRequest{EndpointID: "z"})
	e := attach(t, first, network.AttachRequest{EndpointID: "a"})
	again := attach(t, newPlugin(t, config), network.AttachRequest{EndpointID: "a", MAC: e.MAC, AddressV4: e.Addresses[0].Addr(), AddressV6: e.Addresses[1].Addr()})
	if !slices.Equal(again.Addresses, e.Addresses) {
		t.Fatalf("%v, first %v", again.Addresses, e.Addresses)
	}
	// Of two wishes that cannot be had together, none is kept.
	for _, wish := range []network.AttachRequest{
		{EndpointID: "b", AddressV4: netip.MustParseAddr("10.9.0.50"), AddressV6: e.Addresses[1].Addr()},
		{EndpointID: "b", AddressV4: netip.MustParseAddr("10.9.0.50"), AddressV6: netip.MustParseAddr("fd07::1")},
	} {
		wish.Network, wish.LinkDir = "n", shortDir(t)
		if _, err := first.Attach(t.Context(), wish); err == nil {
			t.Fatal("an address was given twice")
		}
	}
	attach(t, first, network.AttachRequest{EndpointID: "b", AddressV4: netip.MustParseAddr("10.9.0.50"), AddressV6: netip.MustParseAddr("fd00::50")})
}

func TestAddressesOfAFamilyThatIsNotThereAreRefused(t *testing.T) {
	for _, test := range []struct {
		config network.Config
		wish   network.AttachRequest
	}{
		{network.Config{SubnetV6: "none"}, network.AttachRequest{AddressV6: netip.MustParseAddr("fd00::2")}},
		{network.Config{SubnetV4: "none"}, network.AttachRequest{AddressV4: netip.MustParseAddr("10.9.0.2")}},
	} {
		p := newPlugin(t, test.config)
		test.wish.Network, test.wish.EndpointID, test.wish.LinkDir = "n", "a", shortDir(t)
		if _, err := p.Attach(t.Context(), test.wish); !errors.Is(err, fault.Unsupported) {
			t.Errorf("%+v: %v", test.config, err)
		}
	}
}

// TestTheHostsNameIsOfIPv4WhereThereIsIPv4 holds because most of what listens on a host's loopback does so on 127.0.0.1 alone, and not every client tries a second address.
func TestTheHostsNameIsOfIPv4WhereThereIsIPv4(t *testing.T) {
	for subnet, want := range map[string]int{"": 0, "none": 1} {
		vm := startVM(t, newPlugin(t, network.Config{SubnetV4: subnet, AllowHostLoopback: true}), "a")
		c, err := vm.DialUDP(netip.AddrPortFrom(vm.Endpoint.DNS.Servers[0], 53))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		m := ask(t, c, "host.vzctl.internal.", dnsmessage.TypeAAAA, false)
		if len(m.Answers) != want || m.RCode != dnsmessage.RCodeSuccess {
			t.Errorf("IPv4 %q: answers %v, %s", subnet, m.Answers, m.RCode)
		}
		for _, a := range m.Answers {
			if got := netip.AddrFrom16(a.Body.(*dnsmessage.AAAAResource).AAAA); got != hostAlias6(vm.Endpoint) {
				t.Errorf("the host is %s", got)
			}
		}
	}
}
