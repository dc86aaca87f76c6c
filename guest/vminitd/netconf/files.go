package netconf

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
)

// DNS is how names are looked up.
type DNS struct {
	Servers, Search, Options []string
	Domain                   string
}

// ResolvConf renders a resolv.conf(5). What cannot stand in one line of it is refused.
func ResolvConf(d DNS) ([]byte, error) {
	var b bytes.Buffer
	for _, word := range append(append([]string{d.Domain}, d.Search...), d.Options...) {
		if strings.ContainsAny(word, " \t\r\n\x00#;") {
			return nil, fmt.Errorf("%.60q cannot be part of resolv.conf", word)
		}
	}
	if d.Domain != "" {
		fmt.Fprintf(&b, "domain %s\n", d.Domain)
	}
	if len(d.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(d.Search, " "))
	}
	for _, server := range d.Servers {
		address, err := netip.ParseAddr(server)
		if err != nil {
			return nil, fmt.Errorf("name server: %w", err)
		}
		fmt.Fprintf(&b, "nameserver %s\n", address)
	}
	if len(d.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(d.Options, " "))
	}
	return b.Bytes(), nil
}

// Hosts renders an /etc/hosts with the host name at the addresses (CIDR) of the first interface that has any.
func Hosts(hostname string, interfaces []Interface) []byte {
	var b bytes.Buffer
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	if hostname == "" {
		return b.Bytes()
	}
	named := false
	for _, i := range interfaces {
		for _, text := range i.Addresses {
			if p, err := netip.ParsePrefix(text); err == nil {
				fmt.Fprintf(&b, "%s\t%s\n", p.Addr(), hostname)
				named = true
			}
		}
		if named {
			return b.Bytes()
		}
	}
	fmt.Fprintf(&b, "127.0.1.1\t%s\n", hostname)
	return b.Bytes()
}

// HostsLine renders a line of /etc/hosts.
func HostsLine(address, name string) (string, error) {
	parsed, err := netip.ParseAddr(address)
	if err != nil {
		return "", &fault.Error{Reason: fault.Invalid, Op: "add host", Subject: name, Cause: err}
	}
	if name == "" || strings.ContainsAny(name, " \t\r\n\x00#") {
		return "", &fault.Error{Reason: fault.Invalid, Op: "add host", Subject: name, Cause: errors.New("it cannot be part of /etc/hosts")}
	}
	return fmt.Sprintf("%s\t%s\n", parsed, name), nil
}
