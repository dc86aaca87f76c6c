package netconf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// batch is requests to the kernel's routing (rtnetlink(7)) that are sent together: it carries them out in their order, and answers once. Under emulation each
// system call counts, and each kind of code that runs for the first time counts more.
type batch struct {
	requests []byte
	last     int      // where the last request begins
	what     []string // of each request, for errors
	accept   []error  // an error of each request that is none; nil for no such
}

const (
	headerLength = 16
	noDAD        = 0x02 // IFA_F_NODAD
	onLink       = 0x04 // RTNH_F_ONLINK
)

// begin appends the header of a request that what tells, of which the rest follows until finish.
func (b *batch) begin(kind, flags uint16, what string, accept error) {
	b.what, b.accept = append(b.what, what), append(b.accept, accept)
	b.last = len(b.requests)
	h := make([]byte, headerLength)
	binary.NativeEndian.PutUint16(h[4:], kind)
	binary.NativeEndian.PutUint16(h[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(h[8:], uint32(len(b.what)))
	b.requests = append(b.requests, h...)
}

func (b *batch) finish() {
	binary.NativeEndian.PutUint32(b.requests[b.last:], uint32(len(b.requests)-b.last))
}

// attribute appends one; all we have are multiples of two bytes, and are padded to four.
func (b *batch) attribute(kind uint16, value []byte) {
	length := 4 + len(value)
	b.requests = binary.NativeEndian.AppendUint16(b.requests, uint16(length))
	b.requests = binary.NativeEndian.AppendUint16(b.requests, kind)
	b.requests = append(b.requests, value...)
	b.requests = append(b.requests, make([]byte, -length&3)...)
}

func (b *batch) number(kind uint16, value uint32) {
	b.attribute(kind, binary.NativeEndian.AppendUint32(nil, value))
}

// up brings a device up, after its MAC and MTU are set; nil and 0 leave them.
func (b *batch) up(index int, mac []byte, mtu uint32) {
	what := "bring it up"
	if mac != nil || mtu != 0 {
		what = fmt.Sprintf("set MAC %x and MTU %d, and bring it up", mac, mtu)
	}
	b.begin(unix.RTM_NEWLINK, 0, what, nil)
	m := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(m[4:], uint32(index))
	binary.NativeEndian.PutUint32(m[8:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(m[12:], unix.IFF_UP) // what is changed of the flags
	b.requests = append(b.requests, m...)
	if mac != nil {
		b.attribute(unix.IFLA_ADDRESS, mac)
	}
	if mtu != 0 {
		b.number(unix.IFLA_MTU, mtu)
	}
	b.finish()
}

// addAddress has no check for duplicates in IPv6: the network gives each address once, and waiting for the check would cost a second.
func (b *batch) addAddress(index int, p netip.Prefix) {
	b.address(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, index, p, "add address "+p.String(), nil)
}

// removeAddress does nothing if there is no such address: who is root in the machine may have removed it.
func (b *batch) removeAddress(index int, p netip.Prefix) {
	b.address(unix.RTM_DELADDR, 0, index, p, "remove address "+p.String(), unix.EADDRNOTAVAIL)
}

func (b *batch) address(kind, flags uint16, index int, p netip.Prefix, what string, accept error) {
	b.begin(kind, flags, what, accept)
	m := make([]byte, unix.SizeofIfAddrmsg)
	m[0], m[1] = family(p.Addr()), byte(p.Bits())
	if p.Addr().Is6() {
		m[2] = noDAD
	}
	binary.NativeEndian.PutUint32(m[4:], uint32(index))
	b.requests = append(b.requests, m...)
	b.attribute(unix.IFA_LOCAL, p.Addr().AsSlice())
	b.attribute(unix.IFA_ADDRESS, p.Addr().AsSlice())
	if p.Addr().Is4() && p.Bits() < 31 {
		b.attribute(unix.IFA_BROADCAST, broadcast(p))
	}
	b.finish()
}

func broadcast(p netip.Prefix) []byte {
	a := p.Addr().As4()
	return binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(a[:])|^uint32(0)>>p.Bits())
}

// route replaces the one to a destination. A gateway need not be in a subnet of the device's addresses (some networks give /32 addresses): it is taken to be on the
// link. Without one the whole destination is.
func (b *batch) route(index int, to netip.Prefix, gateway netip.Addr) {
	b.begin(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, "route to "+to.String(), nil)
	m := make([]byte, unix.SizeofRtMsg)
	m[0], m[1] = family(to.Addr()), byte(to.Bits())
	m[4], m[5], m[6], m[7] = unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST
	if gateway.IsValid() {
		m[6] = unix.RT_SCOPE_UNIVERSE
		binary.NativeEndian.PutUint32(m[8:], onLink)
	}
	b.requests = append(b.requests, m...)
	b.attribute(unix.RTA_DST, to.Addr().AsSlice())
	if gateway.IsValid() {
		b.attribute(unix.RTA_GATEWAY, gateway.AsSlice())
	}
	b.number(unix.RTA_OIF, uint32(index))
	b.finish()
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// openSocket returns one for send, for as long as the machine runs: making one takes as much code as a request, which a clone has left to its template.
func openSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, fmt.Errorf("open a netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return -1, errors.Join(fmt.Errorf("bind a netlink socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// send has the kernel carry the requests out. It returns the first that was refused; what came behind that was carried out nevertheless, as far as it could be.
func (b *batch) send(fd int) error {
	if len(b.requests) == 0 {
		return nil
	}
	// Only the last is to be confirmed; of the others the kernel tells what it refuses.
	flags := b.requests[b.last+6:]
	binary.NativeEndian.PutUint16(flags, binary.NativeEndian.Uint16(flags)|unix.NLM_F_ACK)
	if err := unix.Sendto(fd, b.requests, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send netlink requests: %w", err)
	}
	var refused error
	for answer := make([]byte, 4096); ; {
		// The requests are carried out before Sendto returns, so the answers are there.
		n, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT)
		if err != nil {
			return errors.Join(refused, fmt.Errorf("read the answer to netlink requests: %w", err))
		}
		request, err := b.result(answer[:n])
		if refused == nil {
			refused = err
		}
		if request == len(b.what) {
			return refused
		}
	}
}

// result reads one answer: of which request it is, counted from 1, and what has become of that.
func (b *batch) result(answer []byte) (request int, err error) {
	if len(answer) < headerLength+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return len(b.what), errors.New("the kernel answers netlink requests with something else")
	}
	request = int(binary.NativeEndian.Uint32(answer[8:]))
	errno := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[headerLength:])))
	if request < 1 || request > len(b.what) {
		return len(b.what), errors.New("the kernel answers a netlink request that was not made")
	}
	if errno == 0 || b.accept[request-1] == errno {
		return request, nil
	}
	return request, fmt.Errorf("%s: %w", b.what[request-1], errno)
}
