package nameserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// attemptTimeout is what one resolver gets for one query.
const attemptTimeout = 3 * time.Second

const (
	port       = 53
	maxMessage = 65535
)

// ask sends a query to one resolver with an id and a source port of its own, and returns the answer with the query's id.
func ask(ctx context.Context, server netip.AddrPort, query []byte, overTCP bool) []byte {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	protocol := "udp"
	if overTCP {
		protocol = "tcp"
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, protocol, server.String())
	if err != nil {
		return nil
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails
	sent := bytes.Clone(query)
	copy(sent, id[:])
	if overTCP {
		_, err = conn.Write(append([]byte{byte(len(sent) >> 8), byte(len(sent))}, sent...))
	} else {
		_, err = conn.Write(sent)
	}
	if err != nil {
		return nil
	}
	for {
		message, err := read(conn, overTCP)
		if err != nil {
			return nil
		}
		if answers(message, query, id) {
			copy(message, query[:2])
			return message
		}
		if overTCP {
			return nil
		}
	}
}

func read(conn net.Conn, overTCP bool) ([]byte, error) {
	if !overTCP {
		b := make([]byte, maxMessage)
		n, err := conn.Read(b)
		return b[:n:n], err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	b := make([]byte, int(length[0])<<8|int(length[1]))
	_, err := io.ReadFull(conn, b)
	return b, err
}

// HostResolvers reads a resolv.conf again whenever it has changed.
type HostResolvers struct {
	// Path of the file; "" is /etc/resolv.conf.
	Path string

	mu      sync.Mutex
	list    []netip.AddrPort
	changed time.Time
}

// List returns the resolvers of the file, or, as the C library does, the host itself if there are none.
func (h *HostResolvers) List() []netip.AddrPort {
	h.mu.Lock()
	defer h.mu.Unlock()
	path := h.Path
	if path == "" {
		path = "/etc/resolv.conf"
	}
	info, err := os.Stat(path)
	if err == nil && info.ModTime().Equal(h.changed) && h.list != nil {
		return h.list
	}
	h.list = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}
	if err != nil {
		return h.list
	}
	h.changed = info.ModTime()
	if content, err := os.ReadFile(path); err == nil {
		if found := parseResolvConf(string(content)); len(found) > 0 {
			h.list = found
		}
	}
	return h.list
}

func parseResolvConf(content string) []netip.AddrPort {
	var list []netip.AddrPort
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, port))
		}
	}
	return list
}

// ParseServers reads "address" or "address:port", separated by commas.
func ParseServers(text string) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if a, err := netip.ParseAddr(item); err == nil {
			list = append(list, netip.AddrPortFrom(a, port))
			continue
		}
		ap, err := netip.ParseAddrPort(item)
		if err != nil {
			return nil, errors.New("\"" + item + "\" is not an address of a DNS server")
		}
		list = append(list, ap)
	}
	return list, nil
}
