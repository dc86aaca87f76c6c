package address

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vzctl/vzctl/plugins/user-network/portguard"
)

// Candidates are the subnets to choose from, best first.
func Candidates() []netip.Prefix {
	var list []netip.Prefix
	for third := 127; third <= 254; third++ {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(third), 0}), 24))
	}
	for third := 0; third <= 254; third++ {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 254, byte(third), 0}), 24))
	}
	return list
}

// Choose returns the first candidate that overlaps nothing in use. When all do, it returns the first: guests then only cannot reach hosts of
// the network that is hidden.
func Choose(inUse []netip.Prefix) netip.Prefix {
	candidates := Candidates()
	for _, c := range candidates {
		overlaps := false
		for _, used := range inUse {
			// A default route or a wide VPN route covers everything and says nothing.
			overlaps = overlaps || used.Bits() > 0 && used.Overlaps(c)
		}
		if !overlaps {
			return c
		}
	}
	return candidates[0]
}

// InUse lists the networks that the host's interfaces and routes name.
func InUse() []netip.Prefix {
	list := hostRoutes()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return list
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			list = append(list, p.Masked())
		}
	}
	return list
}

// Plan is a subnet with the roles of its fixed addresses. The zero value is that of a family that a network does not have.
type Plan struct {
	Subnet    netip.Prefix
	Gateway   netip.Addr
	HostAlias netip.Addr
}

// Exists reports whether the network has the family.
func (p Plan) Exists() bool { return p.Subnet.IsValid() }

// NewPlan checks an IPv4 subnet and a gateway, which may be invalid for the first address. The host's alias is the last address, or the one before
// it if that is the gateway.
func NewPlan(subnet netip.Prefix, gateway netip.Addr) (Plan, error) {
	if !subnet.IsValid() || !subnet.Addr().Is4() || subnet.Bits() < 8 || subnet.Bits() > 29 {
		return Plan{}, fmt.Errorf("subnet %s is not an IPv4 subnet of 8 to 29 bits", subnet)
	}
	if subnet != subnet.Masked() {
		return Plan{}, fmt.Errorf("subnet %s has bits of a host; its network is %s", subnet, subnet.Masked())
	}
	if subnet.Addr().IsLoopback() || subnet.Addr().IsMulticast() || subnet.Addr().As4()[0] == 0 || subnet.Addr().As4()[0] >= 224 {
		return Plan{}, fmt.Errorf("subnet %s is reserved", subnet)
	}
	last := portguard.Last(subnet)
	if !gateway.IsValid() {
		gateway = At(subnet, 1)
	}
	if !subnet.Contains(gateway) || gateway == subnet.Addr() || gateway == last {
		return Plan{}, errors.New("gateway " + gateway.String() + " is not a host's address of " + subnet.String())
	}
	alias := last.Prev()
	if alias == gateway {
		alias = alias.Prev()
	}
	return Plan{Subnet: subnet, Gateway: gateway, HostAlias: alias}, nil
}
