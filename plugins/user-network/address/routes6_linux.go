package address

import (
	"bufio"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// hostRoutesV6 reads /proc/net/ipv6_route: lines with the destination in field 0 and its bits in field 1, each in hexadecimal.
func hostRoutesV6() []netip.Prefix {
	f, err := os.Open("/proc/net/ipv6_route")
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []netip.Prefix
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		to, err1 := hex.DecodeString(fields[0])
		bits, err2 := strconv.ParseUint(fields[1], 16, 8)
		if err1 != nil || err2 != nil || len(to) != 16 || bits > 128 {
			continue
		}
		list = append(list, netip.PrefixFrom(netip.AddrFrom16([16]byte(to)), int(bits)))
	}
	return list
}
