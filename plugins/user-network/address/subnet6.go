package address

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/vzctl/vzctl/plugins/user-network/portguard"
)

// Unicast addresses of IPv6 that a network may have: global ones, and those of unique local networks.
var (
	global      = netip.MustParsePrefix("2000::/3")
	uniqueLocal = netip.MustParsePrefix("fc00::/7")
)

const (
	shortestV6, longestV6 = 48, 120
	// hostAliasV6 is the number of the host's alias in its subnet: in one of 120 bits it is the last but one, as in IPv4.
	hostAliasV6 = 254
)

// ChooseV6 returns the unique local /64 of a network by its name: the same each time, unless that overlaps what is in use. Others may have it, too; nothing
// but the network's own guests ever sees it.
func ChooseV6(name string, inUse []netip.Prefix) netip.Prefix {
	var first netip.Prefix
	for attempt := range uint32(16) {
		sum := sha256.Sum256(binary.BigEndian.AppendUint32([]byte("vzctl network "+name+"\x00"), attempt))
		a := [16]byte{0xfd}
		copy(a[1:8], sum[:])
		candidate := netip.PrefixFrom(netip.AddrFrom16(a), 64)
		if !first.IsValid() {
			first = candidate
		}
		if !overlaps(candidate, inUse) {
			return candidate
		}
	}
	return first
}

func overlaps(p netip.Prefix, inUse []netip.Prefix) bool {
	for _, used := range inUse {
		// A default route covers everything and says nothing, nor does one to all unique local networks.
		if used.Bits() > uniqueLocal.Bits()+1 && used.Overlaps(p) {
			return true
		}
	}
	return false
}

// InUseV6 lists the networks of IPv6 that the host's interfaces and routes name.
func InUseV6() []netip.Prefix {
	var list []netip.Prefix
	for _, r := range routesV6() {
		list = append(list, r.to)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return list
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() {
			list = append(list, p.Masked())
		}
	}
	return list
}

// routeV6 is one of the host's. A direct one needs no router.
type routeV6 struct {
	to     netip.Prefix
	direct bool
}

// shortestLink is the least number of bits of what is taken for a network around the host. A direct route to more is that of a tunnel to the world.
const shortestLink = 48

// LinksV6 lists the networks of IPv6 around the host. Its addresses do not tell of all: one given by DHCP has 128 bits, and what is on its link is a route.
func LinksV6() []netip.Prefix { return links(routesV6()) }

func links(routes []routeV6) (list []netip.Prefix) {
	for _, r := range routes {
		if r.direct && r.to.Bits() >= shortestLink && unicastV6(r.to.Addr()) {
			list = append(list, r.to)
		}
	}
	return list
}

// NewPlanV6 checks an IPv6 subnet and a gateway, which may lie outside the subnet, or be invalid for the first address. The host's alias is the 254th address,
// or the one before it if that is the gateway.
func NewPlanV6(subnet netip.Prefix, gateway netip.Addr) (Plan, error) {
	if !subnet.IsValid() || !subnet.Addr().Is6() || subnet.Bits() < shortestV6 || subnet.Bits() > longestV6 {
		return Plan{}, fmt.Errorf("subnet %s is not an IPv6 subnet of %d to %d bits", subnet, shortestV6, longestV6)
	}
	if subnet != subnet.Masked() {
		return Plan{}, fmt.Errorf("subnet %s has bits of a host; its network is %s", subnet, subnet.Masked())
	}
	if !unicastV6(subnet.Addr()) {
		return Plan{}, fmt.Errorf("subnet %s is reserved; use one of %s or %s", subnet, uniqueLocal, global)
	}
	if !gateway.IsValid() {
		gateway = At(subnet, 1)
	}
	if !unicastV6(gateway) || gateway == subnet.Addr() || gateway == portguard.Last(subnet) {
		return Plan{}, fmt.Errorf("gateway %s is not a router's address for %s; use one of the subnet, or another of %s or %s", gateway, subnet, uniqueLocal, global)
	}
	alias := At(subnet, hostAliasV6)
	if alias == gateway {
		alias = alias.Prev()
	}
	return Plan{Subnet: subnet, Gateway: gateway, HostAlias: alias}, nil
}

func unicastV6(a netip.Addr) bool {
	return a.Zone() == "" && (global.Contains(a) || uniqueLocal.Contains(a))
}

// LinkLocal is the address that a Linux guest makes itself of its MAC (RFC 4291, appendix A).
func LinkLocal(m portguard.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}
