// Package neighbour answers what guests ask by neighbour discovery (RFC 4861), the ARP of IPv6. The network knows who has which address, so it answers itself, for
// its gateway and for every endpoint: no message of neighbour discovery ever goes from one guest to another, and none can be lied to.
//
// It is pure: frames in, frames out. Start with [Table.Answer].
package neighbour

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/vzctl/vzctl/plugins/user-network/portguard"
)

const (
	ipv6Header   = 40
	icmpv6       = 58
	hopLimit     = 255 // what has passed a router has less, and is not believed
	advertise    = 136
	advertiseLen = 32 // with the option that has the MAC

	router, solicited, override = 0x80, 0x40, 0x20
	optionTarget                = 2
)

// Table says who has which address. The zero value is empty and ready; it may be used from many goroutines.
type Table struct {
	// Router is the MAC that is told to be a router's.
	Router portguard.MAC

	mu   sync.RWMutex
	macs map[netip.Addr]portguard.MAC
}

// Add has an address answered for.
func (t *Table) Add(a netip.Addr, mac portguard.MAC) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.macs == nil {
		t.macs = map[netip.Addr]portguard.MAC{}
	}
	t.macs[a] = mac
}

// Remove undoes Add.
func (t *Table) Remove(a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.macs, a)
}

// Answer returns the frame that answers a frame that the guard has found to be a question (portguard.Solicitation), or nil if there is nothing to say: nobody has
// the address, or it is the asker's own.
func (t *Table) Answer(question []byte) []byte {
	asker := portguard.MAC(question[6:12])
	packet := question[portguard.EthernetHeader:]
	from, target := netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[ipv6Header+8:ipv6Header+24]))
	t.mu.RLock()
	mac, known := t.macs[target]
	t.mu.RUnlock()
	if !known || mac == asker {
		return nil
	}
	flags := byte(solicited | override)
	if mac == t.Router {
		flags |= router
	}
	return advertisement(asker, mac, from, target, flags)
}

func advertisement(to, mac portguard.MAC, from, target netip.Addr, flags byte) []byte {
	f := make([]byte, portguard.EthernetHeader+ipv6Header+advertiseLen)
	copy(f, to[:])
	copy(f[6:], mac[:])
	binary.BigEndian.PutUint16(f[12:], 0x86dd)
	p := f[portguard.EthernetHeader:]
	p[0], p[6], p[7] = 0x60, icmpv6, hopLimit
	binary.BigEndian.PutUint16(p[4:], advertiseLen)
	copy(p[8:], target.AsSlice())
	copy(p[24:], from.AsSlice())
	m := p[ipv6Header:]
	m[0], m[4] = advertise, flags
	copy(m[8:], target.AsSlice())
	m[24], m[25] = optionTarget, 1
	copy(m[26:], mac[:])
	binary.BigEndian.PutUint16(m[2:], checksum(p))
	return f
}

// checksum of an ICMPv6 message without extension headers, whose own field is zero.
func checksum(p []byte) uint16 {
	sum := uint32(icmpv6) + uint32(len(p)-ipv6Header)
	for i := 8; i < len(p); i += 2 { // addresses and message
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
