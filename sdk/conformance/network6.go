package conformance

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/network"
)

func ipv6Cases() []Case {
	return []Case{
		{Name: "IPv6 is given as it was asked for, or refused", Run: ipv6Endpoints},
		{Name: "a new process gives an endpoint its IPv6 address back", Run: ipv6Replay},
		{Name: "an IPv6 address is given once, and only one of the subnet", Run: ipv6Addresses},
		{Name: "create refuses IPv6 that can never be", Run: ipv6BadConfigs},
		{Name: "the gateway answers neighbour discovery", Run: ipv6Gateway},
		{Name: "what only a router may say in IPv6 is not forwarded", Run: ipv6Spoofed},
	}
}

// network6 makes a network with IPv6, which change may change further.
func (e *Env) network6(ctx context.Context, change func(*network.Config)) (network.Info, error) {
	if info := e.Process.Info(); !info.Offers(network.CapabilityFamily, "ipv6") {
		return network.Info{}, NotRun{Reason: "the plugin does not offer IPv6"}
	}
	c, err := e.config()
	if err != nil {
		return network.Info{}, err
	}
	c.SubnetV6 = "fd00:97::/64"
	if change != nil {
		change(&c)
	}
	info, err := networks(e).Create(ctx, "create", c)
	if errors.Is(err, fault.PermissionDenied) {
		return info, NotRun{Reason: "the plugin needs privileges: " + err.Error()}
	}
	return info, err
}

func ipv6Endpoints(ctx context.Context, env *Env) error {
	if info := env.Process.Info(); !info.Offers(network.CapabilityFamily, "ipv6") {
		c, err := env.config()
		if err != nil {
			return err
		}
		c.SubnetV6 = "fd00:97::/64"
		_, got := networks(env).Create(ctx, "create", c)
		return wantReason("create with IPv6, which is not offered", got, fault.Unsupported)
	}
	for _, test := range []struct {
		what     string
		change   func(*network.Config)
		families int
	}{
		{"beside IPv4", nil, 2},
		{"in a subnet that the plugin chooses", func(c *network.Config) { c.SubnetV6 = "" }, 2},
		{"alone", func(c *network.Config) { c.SubnetV4 = "none" }, 1},
		{"with a gateway outside the subnet", func(c *network.Config) { c.GatewayV6 = "fd00:98::1" }, 2},
		{"alone, with a gateway outside the subnet", func(c *network.Config) { c.SubnetV4, c.GatewayV6 = "none", "fd00:98::1" }, 1},
	} {
		info, err := env.network6(ctx, test.change)
		if err != nil {
			return err
		}
		e, err := env.attach(ctx, "a")
		if err == nil && len(e.Addresses) != test.families {
			err = fmt.Errorf("the endpoint has addresses %v", e.Addresses)
		}
		if err == nil {
			err = checkIPv6(info, e)
		}
		if err = errors.Join(err, env.leave(ctx, "a")); err != nil {
			return fmt.Errorf("IPv6 %s: %w", test.what, err)
		}
	}
	return nil
}

// checkIPv6 looks at the last address, after that of IPv4, and at the ways to the gateway.
func checkIPv6(info network.Info, e network.Endpoint) error {
	a := e.Addresses[len(e.Addresses)-1]
	if !info.SubnetV6.Contains(a.Addr()) || a.Addr() == info.GatewayV6 || a.Bits() != info.SubnetV6.Bits() {
		return fmt.Errorf("the address %v does not fit subnet %v with gateway %v", a, info.SubnetV6, info.GatewayV6)
	}
	has := func(destination string, gateway netip.Addr) bool {
		return slices.Contains(e.Routes, network.Route{Destination: netip.MustParsePrefix(destination), Gateway: gateway})
	}
	if !has("::/0", info.GatewayV6) || !info.SubnetV6.Contains(info.GatewayV6) && !has(info.GatewayV6.String()+"/128", netip.Addr{}) {
		return fmt.Errorf("routes %v do not lead to gateway %v", e.Routes, info.GatewayV6)
	}
	if len(e.DNS.Servers) > 0 && !slices.ContainsFunc(e.DNS.Servers, func(s netip.Addr) bool {
		return slices.ContainsFunc(e.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() == s.Is4() })
	}) {
		return fmt.Errorf("DNS servers %v cannot be reached from %v", e.DNS.Servers, e.Addresses)
	}
	return nil
}

func ipv6Replay(ctx context.Context, env *Env) error {
	if _, err := env.network6(ctx, nil); err != nil {
		return err
	}
	for _, id := range []string{"a", "b"} {
		if _, err := env.attach(ctx, id); err != nil {
			return err
		}
	}
	old, err := networks(env).ListEndpoints(ctx, "net")
	if err != nil {
		return err
	}
	if err := env.restart(ctx); err != nil {
		return err
	}
	if _, err := env.network6(ctx, nil); err != nil {
		return err
	}
	slices.Reverse(old) // not in the order of the first time
	for _, o := range old {
		r, err := env.attachRequest(o.ID)
		if err != nil {
			return err
		}
		r.AddressV4, r.AddressV6, r.MAC = o.Addresses[0].Addr(), o.Addresses[1].Addr(), o.MAC
		e, err := networks(env).Attach(ctx, r)
		if err != nil || !slices.Equal(e.Addresses, o.Addresses) {
			return wrong(err, "endpoint %q had %v and has %v", o.ID, o.Addresses, e.Addresses)
		}
	}
	return env.leave(ctx, "a", "b")
}

func ipv6Addresses(ctx context.Context, env *Env) error {
	info, err := env.network6(ctx, nil)
	if err != nil {
		return err
	}
	a, err := env.attach(ctx, "a")
	if err != nil {
		return err
	}
	ask := func(address netip.Addr) error { return env.attachAt(ctx, "b", address) }
	return errors.Join(
		wantReason("attach with a taken address", ask(a.Addresses[1].Addr()), fault.AlreadyExists),
		wantReason("attach with the gateway's address", ask(info.GatewayV6), fault.AlreadyExists, fault.Invalid),
		wantReason("attach with an address of elsewhere", ask(netip.MustParseAddr("2001:db8::7")), fault.Invalid),
		ask(info.SubnetV6.Addr().Next().Next().Next().Next().Next()),
		env.leave(ctx, "a", "b"),
	)
}

func ipv6BadConfigs(ctx context.Context, env *Env) (err error) {
	defer os.Remove(filepath.Join(env.RuntimeDir, "n")) // made for a network that there never is
	for what, change := range map[string]func(*network.Config){
		"a subnet that is none":        func(c *network.Config) { c.SubnetV6 = "fd00:97" },
		"a subnet of the other family": func(c *network.Config) { c.SubnetV6 = "192.168.98.0/24" },
		"a multicast subnet":           func(c *network.Config) { c.SubnetV6 = "ff02::/64" },
		"a subnet of mapped addresses": func(c *network.Config) { c.SubnetV6 = "::ffff:192.168.98.0/120" },
		"a multicast gateway":          func(c *network.Config) { c.GatewayV6 = "ff02::2" },
		"a subnet too small":           func(c *network.Config) { c.SubnetV6 = "fd00:97::/128" },
		"an MTU that IPv6 forbids":     func(c *network.Config) { c.MTU = 1279 },
		"no family at all":             func(c *network.Config) { c.SubnetV4, c.SubnetV6 = "none", "none" },
	} {
		_, got := env.network6(ctx, change)
		if notRun := (NotRun{}); errors.As(got, &notRun) {
			return got
		}
		err = errors.Join(err, wantReason("create with "+what, got, fault.Invalid))
	}
	return err
}

// packet6 is a message of ICMPv6 in an Ethernet frame, with its checksum.
func packet6(to, from net.HardwareAddr, source, target netip.Addr, message []byte) []byte {
	f := append(append(append([]byte{}, to...), from...), 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(message)), 58, 255)
	f = append(append(append(f, source.AsSlice()...), target.AsSlice()...), message...)
	sum := uint32(58 + len(message))
	for i := 22; i < len(f); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(f[56:], ^uint16(sum))
	return f
}

// solicit asks for the MAC of a neighbour, as a guest does.
func (p *port) solicit(target netip.Addr) []byte {
	t := target.As16()
	group := [16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]}
	m := append(append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, t[:]...), 1, 1)
	return packet6(net.HardwareAddr{0x33, 0x33, 0xff, t[13], t[14], t[15]}, p.mac, p.address6, netip.AddrFrom16(group), append(m, p.mac...))
}

func isAdvert(f []byte, target netip.Addr) bool {
	return len(f) >= 78 && f[12] == 0x86 && f[13] == 0xdd && f[20] == 58 && f[54] == 136 && bytes.Equal(f[62:78], target.AsSlice())
}

// neighbour asks until it is answered, as gateway does in IPv4.
func (p *port) neighbour(target netip.Addr) error {
	for range 5 {
		if err := p.send(p.solicit(target)); err != nil {
			return err
		}
		if p.await(time.Second, func(f []byte) bool { return isAdvert(f, target) }) {
			return nil
		}
	}
	return fmt.Errorf("nobody answers %v who has %v", p.address6, target)
}

func ipv6Gateway(ctx context.Context, env *Env) error {
	for _, change := range []func(*network.Config){nil, func(c *network.Config) { c.SubnetV4 = "none" }, func(c *network.Config) { c.GatewayV6 = "fd00:98::1" }} {
		info, err := env.network6(ctx, change)
		if err != nil {
			return err
		}
		a, err := env.plug(ctx, "a")
		if err != nil {
			return err
		}
		err = a.neighbour(info.GatewayV6)
		a.close()
		if err = errors.Join(err, env.leave(ctx, "a")); err != nil {
			return err
		}
	}
	return nil
}

func ipv6Spoofed(ctx context.Context, env *Env) error {
	if info := env.Process.Info(); !info.Offers(network.CapabilityFeature, network.FeatureIsolation) {
		return NotRun{Reason: "the plugin does not offer isolation"}
	}
	info, err := env.network6(ctx, nil)
	if err != nil {
		return err
	}
	a, err := env.plug(ctx, "a")
	if err != nil {
		return err
	}
	b, err := env.plug(ctx, "b")
	if err != nil {
		return err
	}
	err = errors.Join(a.neighbour(info.GatewayV6), b.neighbour(info.GatewayV6), a.neighbour(b.address6))
	all, group := netip.MustParseAddr("ff02::1"), net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	router := append([]byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, a.mac...)
	owner := append(append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, info.GatewayV6.AsSlice()...), append([]byte{2, 1}, a.mac...)...)
	echo := []byte{128, 0, 0, 0, 0, 0, 0, 0}
	for what, frame := range map[string][]byte{
		"of a router, to all":                       packet6(group, a.mac, a.address6, all, router),
		"of a router, to one":                       packet6(b.mac, a.mac, a.address6, b.address6, router),
		"of one who says that it is the gateway":    packet6(b.mac, a.mac, a.address6, b.address6, owner),
		"of the same, to all":                       packet6(group, a.mac, a.address6, all, owner),
		"with another's address":                    packet6(b.mac, a.mac, info.GatewayV6, b.address6, echo),
		"with another's address, and another's MAC": packet6(b.mac, b.mac, a.address6, b.address6, echo),
	} {
		if sendErr := a.send(frame); sendErr != nil {
			err = errors.Join(err, sendErr)
		}
		if b.await(quiet, func(f []byte) bool { return bytes.Equal(f, frame) }) {
			err = errors.Join(err, fmt.Errorf("a message %s was forwarded", what))
		}
	}
	err = errors.Join(err, a.neighbour(info.GatewayV6), b.neighbour(info.GatewayV6))
	a.close()
	b.close()
	return errors.Join(err, env.leave(ctx, "a", "b"))
}
