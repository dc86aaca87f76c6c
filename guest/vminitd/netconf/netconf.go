// Package netconf configures the machine's network devices by netlink.
package netconf

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

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

// Rehearse brings up the loopback device, and goes through what Apply does with others.
func Rehearse() error {
	if err := Apply(nil); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	_, err = netlink.AddrList(lo, netlink.FAMILY_ALL)
	return err
}

// Apply brings up the loopback device, and configures the n-th virtio network device as eth<n>.
func Apply(interfaces []Interface) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	if len(interfaces) == 0 {
		return nil
	}
	devices, err := virtioDevices("/sys/class/net")
	if err != nil {
		return err
	}
	if len(devices) < len(interfaces) {
		return fmt.Errorf("%d interfaces are to be configured, the machine has %d network devices", len(interfaces), len(devices))
	}
	for i, config := range interfaces {
		name := "eth" + strconv.Itoa(i)
		if devices[i] != name {
			return fmt.Errorf("network device %d is called %s", i, devices[i])
		}
		if err := configure(name, config); err != nil {
			return fmt.Errorf("configure %s: %w", name, err)
		}
	}
	return nil
}

// virtioDevices returns the names of the virtio network devices, in the order of their names, which is that in which the kernel found them.
func virtioDevices(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "eth*"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, path := range paths {
		if driver, err := os.Readlink(filepath.Join(path, "device/driver")); err == nil && filepath.Base(driver) == "virtio_net" {
			names = append(names, filepath.Base(path))
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return bytes.Compare([]byte(a), []byte(b))
	})
	return names, nil
}

func configure(name string, config Interface) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if config.MAC != "" {
		if err := setMAC(link, config.MAC); err != nil {
			return err
		}
	}
	if config.MTU != 0 {
		if err := netlink.LinkSetMTU(link, int(config.MTU)); err != nil {
			return fmt.Errorf("set MTU %d: %w", config.MTU, err)
		}
	}
	if err := setAddresses(link, config.Addresses); err != nil {
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

func setMAC(link netlink.Link, text string) error {
	mac, err := net.ParseMAC(text)
	if err != nil {
		return err
	}
	if bytes.Equal(mac, link.Attrs().HardwareAddr) {
		return nil
	}
	if err := netlink.LinkSetHardwareAddr(link, mac); err != nil {
		return fmt.Errorf("set MAC %s: %w", mac, err)
	}
	return nil
}

// setAddresses replaces the addresses. Routes over an address go with it, and so does what an earlier identity left.
func setAddresses(link netlink.Link, addresses []string) error {
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
