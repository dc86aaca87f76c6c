package address

import (
	"fmt"
	"strings"
	"testing"
)

// TestNetworksAroundTheHostAreItsDirectRoutes is of a host that has its address by DHCP, with 128 bits, and a tunnel.
func TestNetworksAroundTheHostAreItsDirectRoutes(t *testing.T) {
	const nobody, router = "00000000000000000000000000000000", "fe800000000000000000000000000001"
	line := func(to string, bits int, via, device string) string {
		return fmt.Sprintf("%s %02x %s 00 %s 00000400 00000001 00000000 00000001 %8s\n", to, bits, nobody, via, device)
	}
	routes := parseRoutesV6(strings.NewReader(
		line("20010db8000100000000000000000005", 128, nobody, "eth0") +
			line("20010db8000100000000000000000000", 64, nobody, "eth0") +
			line("20010db8000200000000000000000000", 64, router, "eth0") +
			line("fd000000000000000000000000000000", 64, nobody, "wlan0") +
			line("20000000000000000000000000000000", 3, nobody, "tun0") +
			line("fe800000000000000000000000000000", 64, nobody, "eth0") +
			line("ff000000000000000000000000000000", 8, nobody, "eth0") +
			line("20010db8000900000000000000000000", 64, nobody, "lo") +
			line(nobody, 0, router, "eth0") +
			"2001 40\n" + line("2001", 64, nobody, "eth0")))
	if len(routes) != 9 {
		t.Errorf("%d routes: %v", len(routes), routes)
	}
	if got := fmt.Sprint(links(routes)); got != "[2001:db8:1::5/128 2001:db8:1::/64 fd00::/64]" {
		t.Errorf("the host is on %s", got)
	}
}
