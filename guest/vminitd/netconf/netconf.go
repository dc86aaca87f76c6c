// Package netconf configures the machine's network devices by netlink.
package netconf

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
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
	socket   *int // to the kernel; nil: not opened yet
	loopback bool // it is up
	cards    []card
	applied  []Interface // what the cards have; nil: nothing yet
}

// card is a virtio network device.
type card struct {
	name  string
	index int
	mtu   int
	given []netip.Prefix // the addresses of the identity it has
}

// Prepare does what needs no identity: it brings up the loopback device and finds the others, which will listen to no router and announce the addresses that they will
// get. Apply does it otherwise.
func (n *Network) Prepare() error {
	if n.socket == nil {
		fd, err := openSocket()
		if err != nil {
			return err
		}
		n.socket = &fd
	}
	if !n.loopback {
		index, err := readNumber("/sys/class/net/lo/ifindex")
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		var b batch
		b.up(index, nil, 0)
		if err := b.send(*n.socket); err != nil {
			return fmt.Errorf("configure lo: %w", err)
		}
		n.loopback = true
	}
	if n.cards == nil {
		cards, err := virtioCards("/sys/class/net")
		if err != nil {
			return fmt.Errorf("find network devices: %w", err)
		}
		for _, c := range cards {
			if err := asGiven(c.name); err != nil {
				return err
			}
			// Others may know an address by the MAC of a container that had it before.
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+c.name+"/arp_notify", []byte("1"), 0); err != nil {
				return fmt.Errorf("have %s announce its addresses: %w", c.name, err)
			}
		}
		n.cards = cards
	}
	return nil
}

// asGiven has the kernel neither ask for routers of IPv6 nor believe one: addresses and routes are what Apply gives, whoever else is on the network. Nor does it wait whether another has the link-local address, which it makes of
// the MAC: the network gives each MAC once, and an address of it can be used at once.
func asGiven(device string) error {
	for _, setting := range []string{"accept_ra", "accept_dad"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+device+"/"+setting, []byte("0"), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
			return fmt.Errorf("turn off %s: %w", setting, err)
		}
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
	if len(interfaces) > 0 {
		n.applied = []Interface{} // until it is done
	}
	for i, config := range interfaces {
		name := "eth" + strconv.Itoa(i)
		if n.cards[i].name != name {
			return fmt.Errorf("network device %d is called %s", i, n.cards[i].name)
		}
		if err := n.cards[i].configure(*n.socket, config); err != nil {
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

// configure asks the kernel for as little as can be: under emulation each kind of request takes milliseconds the first time. An address of IPv6 is given to a device
// that is up, because on another the kernel does its work twice.
func (c *card) configure(socket int, config Interface) error {
	var b batch
	for _, old := range c.given {
		b.removeAddress(c.index, old) // routes over it go with it
	}
	addresses, err := parseAddresses(config.Addresses)
	if err != nil {
		return err
	}
	mac, err := parseMAC(config.MAC)
	if err != nil {
		return err
	}
	mtu := config.MTU
	if int(mtu) == c.mtu {
		mtu = 0
	}
	for _, a := range addresses {
		if a.Addr().Is4() {
			b.addAddress(c.index, a)
		}
	}
	b.up(c.index, mac, mtu)
	for _, a := range addresses {
		if a.Addr().Is6() {
			b.addAddress(c.index, a)
		}
	}
	for _, r := range config.Routes {
		if err := addRoute(&b, c.index, r); err != nil {
			return fmt.Errorf("route to %q: %w", r.Destination, err)
		}
	}
	c.given = addresses // even if not all were: who removes them does not mind
	if err := b.send(socket); err != nil {
		return err
	}
	if mtu != 0 {
		c.mtu = int(mtu)
	}
	return nil
}

func parseMAC(text string) (net.HardwareAddr, error) {
	if text == "" {
		return nil, nil
	}
	return net.ParseMAC(text)
}

func parseAddresses(texts []string) (list []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func addRoute(b *batch, index int, r Route) error {
	destination, err := netip.ParsePrefix(r.Destination)
	if err != nil {
		return err
	}
	var gateway netip.Addr
	if r.Gateway != "" {
		if gateway, err = netip.ParseAddr(r.Gateway); err != nil {
			return err
		}
		if gateway.Is4() != destination.Addr().Is4() {
			return errors.New("gateway and destination are of different families")
		}
	}
	b.route(index, destination.Masked(), gateway)
	return nil
}
