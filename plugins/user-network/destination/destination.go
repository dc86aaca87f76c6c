// Package destination decides which addresses a guest reaches through the gateway, and which address of the host's world one of them stands
// for. The same rules are asked twice: by the guard for each frame, and before the gateway dials.
package destination

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vzctl/vzctl/plugins/user-network/address"
)

// Rules of one network. The fields do not change once they are in use.
type Rules struct {
	// Own are the network's subnets, and its gateway where that is outside of them: nothing of these is outside.
	Own []netip.Prefix
	// HostAliases are the addresses in the subnets that stand for the host's loopback, each for that of its family.
	HostAliases []netip.Addr
	// Internal networks reach nothing outside.
	Internal bool
	// HostLoopback allows the alias.
	HostLoopback bool
	// LAN allows private and link-local networks, the host's own addresses, and in IPv6 the networks that these are of: hosts there have public addresses.
	LAN bool
	// HostAddresses lists the host's own with the length of their network; nil asks the system.
	HostAddresses func() []netip.Prefix

	mu    sync.Mutex
	host  []netip.Prefix
	asked time.Time
}

// How long the list of the host's addresses is believed. A packet to an address that the host got within this time may pass.
const hostFor = 2 * time.Second

// never are reachable by nobody: this host, loopback, multicast and what is reserved. In IPv6 that includes all that writes an IPv4 address in other words for
// the host itself (mapped, compatible, translated), and link-local addresses, which mean nothing without an interface of the host.
var never = prefixes("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4",
	"::/64", "100::/8", "fe80::/10", "fec0::/10", "ff00::/8")

// lan are the networks around the host, and what clouds put there: private use, carrier NAT, link-local (with metadata services), IETF
// protocol assignments, benchmarks; in IPv6 unique local networks, protocol assignments with the tunnels of Teredo, benchmarks, local translation to IPv4, segments of
// routers.
var lan = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "192.0.0.0/24", "198.18.0.0/15",
	"fc00::/7", "2001::/23", "2001:2::/48", "64:ff9b:1::/48", "5f00::/16")

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

// Dial returns the address to dial for one that a guest asked for, or false if the guest may not reach it.
func (r *Rules) Dial(to netip.Addr) (netip.Addr, bool) {
	if slices.Contains(r.HostAliases, to) {
		return loopback(to), r.HostLoopback && !r.Internal
	}
	return to, r.Outside(to)
}

func loopback(alias netip.Addr) netip.Addr {
	if alias.Is6() {
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// Outside reports whether a guest may reach an address outside the network.
func (r *Rules) Outside(to netip.Addr) bool {
	if r.Internal || !to.IsValid() || to.Zone() != "" || within(r.Own, to) {
		return false
	}
	// An address of IPv6 that a translator or a tunnel takes for one of IPv4 goes where that goes.
	if inner, embeds := embedded(to); embeds && !r.public(inner) {
		return false
	}
	return r.public(to)
}

func (r *Rules) public(to netip.Addr) bool {
	return !within(never, to) && (r.LAN || !within(lan, to) && !r.isHosts(to))
}

var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
)

// embedded returns the IPv4 address in one of IPv6 for a translator (NAT64) or a tunnel (6to4).
func embedded(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	switch {
	case !a.Is6():
		return netip.Addr{}, false
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:])), true
	}
	return netip.Addr{}, false
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// isHosts reports whether an address is the host's own, or of IPv6 and on a network that the host is on.
func (r *Rules) isHosts(a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.host == nil || now.Sub(r.asked) > hostFor {
		list := r.HostAddresses
		if list == nil {
			list = systemAddresses
		}
		r.host, r.asked = []netip.Prefix{}, now
		for _, p := range list() {
			r.host = append(r.host, hostPart(p))
		}
	}
	return within(r.host, a)
}

func hostPart(p netip.Prefix) netip.Prefix {
	a := p.Addr().Unmap()
	if a.Is4() || p.Bits() == 0 {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return p.Masked()
}

func systemAddresses() []netip.Prefix {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var list []netip.Prefix
	for _, a := range found {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, p)
		}
	}
	return append(list, address.LinksV6()...)
}
