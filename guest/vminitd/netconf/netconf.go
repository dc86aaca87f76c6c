// Package netconf configures the machine's network devices by netlink.
package netconf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// Interface is what one device shall have. It replaces what the device had.
type Interface struct {
	MAC       string // empty: as it is
	MTU       uint32 // 0: as it is
	Addresses []string
	Routes    []Route
}

// Route goes to a destination, over a gateway or, if that is empty, on the link.
type Route struct{ Destination, Gateway string }

// Network is the machine's network devices. Its zero value is ready; it serves one caller at a time.
type Network struct {
	loopback bool // it is up
	cards    []card
	applied  []Interface // what the cards have; nil: nothing yet
}

// card is a virtio network device.
type card struct {
	name  string
	index int
	mtu   int
}

// Prepare does what needs no identity: it brings up the loopback device and finds the others. Apply does it otherwise.
func (n *Network) Prepare() error {
	if !n.loopback {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return fmt.Errorf("bring up lo: %w", err)
		}
		n.loopback = true
	}
	if n.cards == nil {
		cards, err := virtioCards("/sys/class/net")
		if err != nil {
			return fmt.Errorf("find network devices: %w", err)
		}
		n.cards = cards
	}
	return nil
}

// Apply brings up the loopback device, and configures the n-th virtio network device as eth<n>.
func (n *Network) Apply(interfaces []Interface) error {
	if err := n.Prepare(); err != nil {
		return err
	}
	if len(n.cards) < len(interfaces) {
		return fmt.Errorf("%d interfaces are to be configured, the machine has %d network devices", len(interfaces), len(n.cards))
	}
	if n.applied != nil && reflect.DeepEqual(n.applied, interfaces) {
		return nil // a restored machine: to take its addresses away, and give them again, would end what uses them
	}
	again := n.applied != nil
	if len(interfaces) > 0 {
		n.applied = []Interface{} // until it is done
	}
	for i, config := range interfaces {
		name := "eth" + strconv.Itoa(i)
		if n.cards[i].name != name {
			return fmt.Errorf("network device %d is called %s", i, n.cards[i].name)
		}
		if err := n.cards[i].configure(config, again); err != nil {
			return fmt.Errorf("configure %s: %w", name, err)
		}
	}
	if len(interfaces) > 0 {
		n.applied = interfaces
	}
	return nil
}

// virtioCards returns the virtio network devices, in the order of their names, which is that in which the kernel found them.
func virtioCards(dir string) ([]card, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "eth*"))
	if err != nil {
		return nil, err
	}
	cards := []card{}
	for _, path := range paths {
		if driver, err := os.Readlink(filepath.Join(path, "device/driver")); err != nil || filepath.Base(driver) != "virtio_net" {
			continue
		}
		c := card{name: filepath.Base(path)}
		if c.index, err = readNumber(filepath.Join(path, "ifindex")); err != nil {
			return nil, err
		}
		if c.mtu, err = readNumber(filepath.Join(path, "mtu")); err != nil {
			return nil, err
		}
		cards = append(cards, c)
	}
	slices.SortFunc(cards, func(a, b card) int {
		if len(a.name) != len(b.name) {
			return len(a.name) - len(b.name)
		}
		return strings.Compare(a.name, b.name)
	})
	return cards, nil
}

func readNumber(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// configure asks the kernel for as little as can be: under emulation each kind of request takes milliseconds the first time.
func (c *card) configure(config Interface, again bool) error {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: c.index, Name: c.name}}
	if config.MAC != "" {
		mac, err := net.ParseMAC(config.MAC)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetHardwareAddr(link, mac); err != nil {
			return fmt.Errorf("set MAC %s: %w", mac, err)
		}
	}
	if config.MTU != 0 && int(config.MTU) != c.mtu {
		if err := netlink.LinkSetMTU(link, int(config.MTU)); err != nil {
			return fmt.Errorf("set MTU %d: %w", config.MTU, err)
		}
		c.mtu = int(config.MTU)
	}
	if again {
		if err := removeAddresses(link); err != nil {
			return err
		}
	}
	if err := addAddresses(link, config.Addresses); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring it up: %w", err)
	}
	for _, r := range config.Routes {
		if err := addRoute(link, r); err != nil {
			return fmt.Errorf("route to %q: %w", r.Destination, err)
		}
	}
	return nil
}

// removeAddresses takes away what an earlier identity left. Routes over an address go with it.
func removeAddresses(link netlink.Link) error {
	old, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range old {
		if a.IP.IsLinkLocalUnicast() && a.IP.To4() == nil {
			continue // the kernel's own
		}
		if err := netlink.AddrDel(link, &a); err != nil {
			return fmt.Errorf("remove address %s: %w", a.IPNet, err)
		}
	}
	return nil
}

func addAddresses(link netlink.Link, addresses []string) error {
	for _, text := range addresses {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return err
		}
		address := &netlink.Addr{IPNet: ipNet(prefix)}
		if prefix.Addr().Is6() {
			address.Flags = noDAD // the network gives each address once, and waiting for the check would cost a second
		}
		if err := netlink.AddrAdd(link, address); err != nil {
			return fmt.Errorf("add address %s: %w", prefix, err)
		}
	}
	return nil
}

const noDAD = 0x02 // IFA_F_NODAD

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// addRoute adds a route. A gateway outside the subnets of the link's addresses (some networks give /32 addresses) is taken to be on the link.
func addRoute(link netlink.Link, r Route) error {
	destination, err := parseDestination(r.Destination)
	if err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(destination), Scope: netlink.SCOPE_LINK}
	if r.Gateway != "" {
		gateway, err := netip.ParseAddr(r.Gateway)
		if err != nil {
			return err
		}
		if gateway.Is4() != destination.Addr().Is4() {
			return errors.New("gateway and destination are of different families")
		}
		route.Gw, route.Scope, route.Flags = gateway.AsSlice(), netlink.SCOPE_UNIVERSE, int(netlink.FLAG_ONLINK)
	}
	return netlink.RouteReplace(route)
}

func parseDestination(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return p.Masked(), nil
}
