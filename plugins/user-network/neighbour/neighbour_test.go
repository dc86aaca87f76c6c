package neighbour_test

import (
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/vzctl/vzctl/plugins/user-network/neighbour"
	"github.com/vzctl/vzctl/plugins/user-network/portguard"
)

var (
	asker  = portguard.MAC{2, 0, 0, 0, 0, 1}
	other  = portguard.MAC{2, 0, 0, 0, 0, 2}
	router = portguard.MAC{2, 0, 0, 0, 0, 9}
)

func question(target string) []byte {
	f := make([]byte, 14+40+24)
	copy(f, []byte{0x33, 0x33, 0xff, 0, 0, 2})
	copy(f[6:], asker[:])
	f[12], f[13], f[14], f[19], f[20], f[21] = 0x86, 0xdd, 0x60, 24, 58, 255
	copy(f[22:], netip.MustParseAddr("fd00::7").AsSlice())
	copy(f[38:], netip.MustParseAddr("ff02::1:ff00:2").AsSlice())
	f[54] = 135
	copy(f[62:], netip.MustParseAddr(target).AsSlice())
	return f
}

func TestQuestionsForNeighboursAreAnsweredByTheNetwork(t *testing.T) {
	table := &neighbour.Table{Router: router}
	table.Add(netip.MustParseAddr("fd00::7"), asker)
	table.Add(netip.MustParseAddr("fd00::8"), other)
	table.Add(netip.MustParseAddr("fd00::1"), router)
	table.Add(netip.MustParseAddr("fd00::9"), other)
	table.Remove(netip.MustParseAddr("fd00::9"))
	for _, test := range []struct {
		name, target string
		mac          portguard.MAC
		router       bool
	}{
		{"an endpoint", "fd00::8", other, false},
		{"the gateway", "fd00::1", router, true},
		{"nobody", "fd00::77", portguard.MAC{}, false},
		{"one that has gone", "fd00::9", portguard.MAC{}, false},
		{"the asker itself", "fd00::7", portguard.MAC{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := table.Answer(question(test.target))
			if test.mac == (portguard.MAC{}) {
				if answer != nil {
					t.Fatalf("%x", answer)
				}
				return
			}
			e, ip := header.Ethernet(answer), header.IPv6(answer[14:])
			message := header.ICMPv6(ip.Payload())
			sum := header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: message, Src: ip.SourceAddress(), Dst: ip.DestinationAddress()})
			if e.SourceAddress() != tcpip.LinkAddress(test.mac[:]) || e.DestinationAddress() != tcpip.LinkAddress(asker[:]) || !ip.IsValid(len(answer)-14) ||
				ip.SourceAddress().String() != test.target || ip.DestinationAddress().String() != "fd00::7" || ip.HopLimit() != 255 ||
				message.Type() != header.ICMPv6NeighborAdvert || message.Checksum() != sum {
				t.Fatalf("%x", answer)
			}
			na := header.NDPNeighborAdvert(message.MessageBody())
			options, err := na.Options().Iter(true)
			if err != nil {
				t.Fatal(err)
			}
			option, _, err := options.Next()
			target, ok := option.(header.NDPTargetLinkLayerAddressOption)
			if err != nil || !ok || target.EthernetAddress() != tcpip.LinkAddress(test.mac[:]) || na.TargetAddress().String() != test.target ||
				na.RouterFlag() != test.router || !na.SolicitedFlag() || !na.OverrideFlag() {
				t.Fatalf("%x: %v", answer, err)
			}
		})
	}
}
