package address

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"net/netip"
	"os"
	"strings"
)

// hostRoutes reads /proc/net/route: a header, then lines with the destination in field 1 and the mask in field 7, each in hexadecimal, in the
// byte order of the host (all hosts we run on are little-endian).
func hostRoutes() []netip.Prefix {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []netip.Prefix
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 {
			continue
		}
		to, err1 := hex.DecodeString(fields[1])
		mask, err2 := hex.DecodeString(fields[7])
		if err1 != nil || err2 != nil || len(to) != 4 || len(mask) != 4 {
			continue
		}
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{to[3], to[2], to[1], to[0]}),
			bits.OnesCount32(binary.LittleEndian.Uint32(mask))))
	}
	return list
}
