// Package address chooses what is unique on a network: its subnets, the addresses and the MACs of its endpoints.
package address

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/vzctl/vzctl/plugins/user-network/portguard"
)

// Errors of a pool.
var (
	ErrTaken     = errors.New("the address is taken")
	ErrOutside   = errors.New("the address is not one for endpoints of this network")
	ErrExhausted = errors.New("the subnet has no free address")
)

// Pool gives the addresses of one subnet. It is not safe for use by several goroutines.
type Pool struct {
	subnet netip.Prefix
	taken  map[netip.Addr]bool
	last   netip.Addr
	free   int
}

// NewPool returns a pool of a subnet whose first, last and reserved addresses are never given: in IPv4 the first and the last are the network's and that of
// broadcasts, in IPv6 the first is every router's.
func NewPool(subnet netip.Prefix, reserved ...netip.Addr) *Pool {
	free := 1 << min(subnet.Addr().BitLen()-subnet.Bits(), 62)
	p := &Pool{subnet: subnet, taken: map[netip.Addr]bool{}, last: subnet.Addr(), free: free}
	for _, a := range append(reserved, subnet.Addr(), portguard.Last(subnet)) {
		if subnet.Contains(a) && !p.taken[a] {
			p.taken[a] = true
			p.free--
		}
	}
	return p
}

// Take marks a wanted address as taken.
func (p *Pool) Take(a netip.Addr) error {
	if !p.subnet.Contains(a) || a == p.subnet.Addr() || a == portguard.Last(p.subnet) {
		return ErrOutside
	}
	if p.taken[a] {
		return ErrTaken
	}
	p.taken[a] = true
	p.free--
	return nil
}

// Next takes the next free address after the one it gave last: an address rests before it is given again, so that what others remember of its
// last owner has aged.
func (p *Pool) Next() (netip.Addr, error) {
	if p.free == 0 {
		return netip.Addr{}, ErrExhausted
	}
	for {
		p.last = p.last.Next()
		if !p.subnet.Contains(p.last) {
			p.last = p.subnet.Addr()
		}
		if !p.taken[p.last] {
			return p.last, p.Take(p.last)
		}
	}
}

// Release frees an address that Take or Next gave.
func (p *Pool) Release(a netip.Addr) {
	if p.taken[a] {
		delete(p.taken, a)
		p.free++
	}
}

// RandomMAC returns a locally administered unicast address.
func RandomMAC() portguard.MAC {
	var m portguard.MAC
	_, _ = rand.Read(m[:]) // never fails
	m[0] = m[0]&^1 | 2
	return m
}

// ParseMAC reads the MAC of an endpoint: six bytes, unicast, not zero.
func ParseMAC(text string) (portguard.MAC, error) {
	hw, err := net.ParseMAC(text)
	if err != nil || len(hw) != 6 {
		return portguard.MAC{}, errors.New("not a MAC address")
	}
	m := portguard.MAC(hw)
	if m == (portguard.MAC{}) || m[0]&1 != 0 {
		return m, errors.New("not the MAC address of one endpoint")
	}
	return m, nil
}

// FormatMAC writes a MAC as ParseMAC reads it.
func FormatMAC(m portguard.MAC) string { return net.HardwareAddr(m[:]).String() }

// At returns the n-th address of a subnet that has so many.
func At(subnet netip.Prefix, n uint32) netip.Addr {
	b := subnet.Masked().Addr().AsSlice()
	low := b[len(b)-4:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+n)
	a, _ := netip.AddrFromSlice(b)
	return a
}
