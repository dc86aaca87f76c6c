package nat

import (
	"net/netip"
	"testing"

	"github.com/vzctl/vzctl/plugins/user-network/fabric"
	"github.com/vzctl/vzctl/plugins/user-network/portguard"
)

// sink takes what the gateway answers.
type sink struct{}

func (sink) Send([]byte) {}

// FuzzGateway gives the gateway's stack any frame, with and without the check that comes before it: nothing panics, and no address is dialled that is refused.
func FuzzGateway(f *testing.F) {
	router, own := portguard.MAC{2, 0, 0, 0, 0, 1}, portguard.MAC{2, 0, 0, 0, 0, 2}
	ethernet := func(kind byte, payload ...byte) []byte {
		return append(append(append(append([]byte{}, router[:]...), own[:]...), 8, kind), payload...)
	}
	f.Add(ethernet(6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 7, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1))                            // ARP
	f.Add(ethernet(0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 7, 10, 0, 0, 1, 8, 0, 0xf7, 0xff, 0, 0, 0, 0))                 // echo
	f.Add(ethernet(0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 7, 10, 0, 0, 1, 0, 9, 0, 53, 0, 8, 0, 0))                     // UDP
	f.Add(ethernet(0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 7, 10, 0, 0, 9, 0, 9, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2)) // TCP SYN
	f.Add(ethernet(0, 0x4f, 0, 0, 60, 0, 0, 0x20, 0, 64, 6, 0, 0, 10, 0, 0, 7, 10, 0, 0, 9, 7, 40, 4))                                  // options, fragment
	six := func(protocol byte, payload ...byte) []byte {
		f := append(append([]byte{}, router[:]...), own[:]...)
		f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(payload)), protocol, 255)
		f = append(append(f, netip.MustParseAddr("fd00::7").AsSlice()...), netip.MustParseAddr("fd00::1").AsSlice()...)
		return append(f, payload...)
	}
	f.Add(six(58, 128, 0, 0, 0, 0, 0, 0, 0))                                      // echo
	f.Add(six(17, 0, 9, 0, 53, 0, 8, 0, 0))                                       // UDP
	f.Add(six(6, 0, 9, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0)) // TCP SYN
	f.Add(six(44, 58, 0, 0, 1, 0, 0, 0, 7, 128, 0, 0, 0, 0, 0, 0, 0))             // a fragment
	network := fabric.NewSwitch()
	network.Connect(own, sink{})
	card := fabric.NewGateway(router, 1500, network)
	gateway, err := New(Config{MaxSockets: 16, Links: []Link{
		{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Address: netip.MustParseAddr("10.0.0.1")},
		{Subnet: netip.MustParsePrefix("fd00::/64"), Address: netip.MustParseAddr("fd00::1")}},
		Dial: func(netip.Addr) (netip.Addr, bool) { return netip.Addr{}, false }}, card)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(gateway.Close)
	if err := gateway.Add(own, netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("fd00::7")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < portguard.EthernetHeader || len(frame) > portguard.EthernetHeader+1500 {
			return // the port drops it
		}
		card.Deliver(frame)
	})
}
