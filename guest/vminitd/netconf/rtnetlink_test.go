package netconf

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func answer(request uint32, errno unix.Errno) []byte {
	a := make([]byte, headerLength+4)
	binary.NativeEndian.PutUint16(a[4:], unix.NLMSG_ERROR)
	binary.NativeEndian.PutUint32(a[8:], request)
	binary.NativeEndian.PutUint32(a[headerLength:], uint32(-int32(errno)))
	return a
}

func TestTheKernelsAnswersAreTold(t *testing.T) {
	var b batch
	b.removeAddress(2, netip.MustParsePrefix("fd00::7/64"))
	b.up(2, []byte{2, 0, 0, 0, 0, 1}, 1400)
	b.route(2, netip.MustParsePrefix("::/0"), netip.MustParseAddr("fd00::1"))
	for _, test := range []struct {
		name    string
		answer  []byte
		request int
		says    string
		is      error
	}{
		{"the last is confirmed", answer(3, 0), 3, "", nil},
		{"one is refused", answer(2, unix.EPERM), 2, "set MAC 020000000001 and MTU 1400, and bring it up: operation not permitted", unix.EPERM},
		{"the last is refused", answer(3, unix.EINVAL), 3, "route to ::/0: invalid argument", unix.EINVAL},
		{"an address that has gone already", answer(1, unix.EADDRNOTAVAIL), 1, "", nil},
		{"a request that was not made", answer(4, 0), 3, "not made", nil},
		{"cut short", answer(1, 0)[:19], 3, "something else", nil},
		{"nothing", nil, 3, "something else", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			request, err := b.result(test.answer)
			if request != test.request || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("request %d, %v", request, err)
			}
		})
	}
}

func TestRequestsStandBehindEachOther(t *testing.T) {
	var b batch
	b.addAddress(2, netip.MustParsePrefix("10.0.0.7/24"))
	b.up(2, []byte{2, 0, 0, 0, 0, 1}, 1400)
	b.addAddress(2, netip.MustParsePrefix("fd00::7/64"))
	b.route(2, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.0.0.1"))
	b.route(2, netip.MustParsePrefix("fd99::1/128"), netip.Addr{})
	var kinds []uint16
	for rest := b.requests; len(rest) > 0; {
		n := int(binary.NativeEndian.Uint32(rest))
		if n < headerLength || n > len(rest) || n%4 != 0 {
			t.Fatalf("a request of %d bytes, %d are left", n, len(rest))
		}
		kinds = append(kinds, binary.NativeEndian.Uint16(rest[4:]))
		rest = rest[n:]
	}
	want := []uint16{unix.RTM_NEWADDR, unix.RTM_NEWLINK, unix.RTM_NEWADDR, unix.RTM_NEWROUTE, unix.RTM_NEWROUTE}
	if len(kinds) != len(want) {
		t.Fatal(kinds)
	}
	for i := range want {
		if kinds[i] != want[i] {
			t.Errorf("request %d is %d, want %d", i, kinds[i], want[i])
		}
	}
}
