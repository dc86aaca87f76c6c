package address

import (
	"bufio"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// routesV6 reads /proc/net/ipv6_route.
func routesV6() []routeV6 {
	f, err := os.Open("/proc/net/ipv6_route")
	if err != nil {
		return nil
	}
	defer f.Close()
	return parseRoutesV6(f)
}

// parseRoutesV6 reads lines with the destination in field 0 and its bits in field 1, the next hop in field 4, each in hexadecimal, and the device in field 9.
func parseRoutesV6(from io.Reader) (list []routeV6) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			continue
		}
		to, err1 := hex.DecodeString(fields[0])
		bits, err2 := strconv.ParseUint(fields[1], 16, 8)
		if err1 != nil || err2 != nil || len(to) != 16 || bits > 128 {
			continue
		}
		list = append(list, routeV6{netip.PrefixFrom(netip.AddrFrom16([16]byte(to)), int(bits)), strings.Trim(fields[4], "0") == "" && fields[9] != "lo"})
	}
	return list
}
