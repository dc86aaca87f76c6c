package netconf

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Connections counts the TCP connections to others that a network namespace has, of which dir is the /proc/<pid>/net. Those within the machine do not count.
func Connections(dir string) (int, error) {
	count := 0
	for _, name := range []string{"tcp", "tcp6"} {
		table, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without that family
		}
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(table)) {
			if external(strings.Fields(line)) {
				count++
			}
		}
	}
	return count, nil
}

// openStates are the kernel's: established, asked for, and closed by the other end alone.
var openStates = []string{"01", "02", "03", "08"}

// external says of a line of the table (number, local and remote address, state...) whether it is a connection that others have an end of.
func external(fields []string) bool {
	if len(fields) < 4 || !slices.Contains(openStates, fields[3]) {
		return false
	}
	local, remote := tableAddress(fields[1]), tableAddress(fields[2])
	return remote.IsValid() && !remote.IsLoopback() && remote != local
}

// tableAddress reads an address as the kernel writes it: words of 32 bits in the machine's order, which is little endian on all we run on, in hexadecimal, and a port.
func tableAddress(text string) netip.Addr {
	words, _, _ := strings.Cut(text, ":")
	bytes, err := hex.DecodeString(words)
	if err != nil || len(bytes)%4 != 0 {
		return netip.Addr{}
	}
	for i := 0; i < len(bytes); i += 4 {
		slices.Reverse(bytes[i : i+4])
	}
	address, _ := netip.AddrFromSlice(bytes)
	return address.Unmap()
}
