package netconf

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Traffic is what has gone over interfaces, in bytes and packets.
type Traffic struct {
	ReceivedBytes, SentBytes, ReceivedPackets, SentPackets uint64
}

// TrafficOf adds up all interfaces of a network namespace but the one to itself, of which dir is the /proc/<pid>/net.
func TrafficOf(dir string) (Traffic, error) {
	table, err := os.ReadFile(filepath.Join(dir, "dev"))
	if err != nil {
		return Traffic{}, err
	}
	return parseTraffic(string(table)), nil
}

// parseTraffic reads lines like "  eth0:  1 2 0 0 0 0 0 0  3 4 ...": eight numbers of what came, bytes and packets first, and eight of what went.
func parseTraffic(table string) (sum Traffic) {
	for line := range strings.Lines(table) {
		name, numbers, ok := strings.Cut(line, ":")
		fields := strings.Fields(numbers)
		if !ok || len(fields) < 10 || strings.TrimSpace(name) == "lo" {
			continue
		}
		for i, to := range map[int]*uint64{0: &sum.ReceivedBytes, 1: &sum.ReceivedPackets, 8: &sum.SentBytes, 9: &sum.SentPackets} {
			n, _ := strconv.ParseUint(fields[i], 10, 64) // written by the kernel
			*to += n
		}
	}
	return sum
}
