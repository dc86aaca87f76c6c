// Package destination decides which addresses a guest reaches through the gateway, and which address of the host's world one of them stands
// for. The same rules are asked twice: by the guard for each frame, and before the gateway dials.
package destination

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Rules of one network. The fields do not change once they are in use.
type Rules struct {
	// Subnet is the network's own.
	Subnet netip.Prefix
	// HostAlias is the address in the subnet that stands for the host's loopback.
	HostAlias netip.Addr
	// Internal networks reach nothing outside.
	Internal bool
	// HostLoopback allows the alias.
	HostLoopback bool
	// LAN allows private and link-local networks and the host's own addresses.
	LAN bool
	// HostAddresses lists the host's own; nil asks the system.
	HostAddresses func() []netip.Addr

	mu    sync.Mutex
	own   map[netip.Addr]bool
	asked time.Time
}

// How long the list of the host's addresses is believed. A packet to an address that the host got within this time may pass.
const ownFor = 2 * time.Second

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// never are reachable by nobody: this host, loopback, multicast and what is reserved.
var never = prefixes("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")

// lan are the networks around the host, and what clouds put there: private use, carrier NAT, link-local (with metadata services), IETF
// protocol assignments, benchmarks.
var lan = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "192.0.0.0/24", "198.18.0.0/15")

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

// Dial returns the address to dial for one that a guest asked for, or false if the guest may not reach it.
func (r *Rules) Dial(to netip.Addr) (netip.Addr, bool) {
	if to == r.HostAlias {
		return loopback, r.HostLoopback && !r.Internal
	}
	return to, r.Outside(to)
}

// Outside reports whether a guest may reach an address outside the subnet.
func (r *Rules) Outside(to netip.Addr) bool {
	if r.Internal || !to.Is4() || r.Subnet.Contains(to) || within(never, to) {
		return false
	}
	return r.LAN || !within(lan, to) && !r.isOwn(to)
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (r *Rules) isOwn(a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.own == nil || now.Sub(r.asked) > ownFor {
		list := r.HostAddresses
		if list == nil {
			list = systemAddresses
		}
		r.own, r.asked = map[netip.Addr]bool{}, now
		for _, own := range list() {
			r.own[own.Unmap()] = true
		}
	}
	return r.own[a]
}

func systemAddresses() []netip.Addr {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var list []netip.Addr
	for _, a := range found {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				list = append(list, addr)
			}
		}
	}
	return list
}
