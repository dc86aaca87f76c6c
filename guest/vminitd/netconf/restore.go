package netconf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Before is what the cards of a machine were like that nobody had configured.
type Before []cardBefore

type cardBefore struct {
	card
	mac net.HardwareAddr
}

// Note takes down what the cards are like. They are to be down, without addresses.
func Note() (before Before, err error) {
	cards, err := virtioCards("/sys/class/net")
	if err != nil {
		return nil, fmt.Errorf("find network devices: %w", err)
	}
	for _, c := range cards {
		mac, err := readMAC(c.name)
		if err != nil {
			return nil, fmt.Errorf("read the MAC of %s: %w", c.name, err)
		}
		before = append(before, cardBefore{c, mac})
	}
	return before, nil
}

// MTU returns the first card's; ok is false if there is none.
func (b Before) MTU() (mtu uint32, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	return uint32(b[0].mtu), true
}

// Restore undoes what Apply did with the addresses, as far as it got: the cards are down, have their MAC and MTU, and neither addresses, routes nor neighbours.
func (b Before) Restore(addresses []string) error {
	given, err := parseAddresses(addresses)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return nil
	}
	socket, err := openSocket()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	for _, c := range b {
		if err := c.restore(socket, given); err != nil {
			return fmt.Errorf("take %s back: %w", c.name, err)
		}
	}
	return nil
}

func (c cardBefore) restore(socket int, given []netip.Prefix) error {
	var requests batch
	for _, a := range given {
		requests.removeAddress(c.index, a)
	}
	requests.down(c.index, nil, 0) // routes, neighbours and what the kernel has added of addresses go with that
	requests.down(c.index, c.mac, uint32(c.mtu))
	if err := requests.send(socket); err != nil {
		return err
	}
	mac, err := readMAC(c.name)
	if err != nil {
		return err
	}
	flags, err := os.ReadFile(filepath.Join("/sys/class/net", c.name, "flags"))
	if err != nil {
		return err
	}
	var up uint32
	if _, err := fmt.Sscanf(strings.TrimSpace(string(flags)), "0x%x", &up); err != nil {
		return err
	}
	if up&unix.IFF_UP != 0 || mac.String() != c.mac.String() {
		return errors.New("it is up, or has another MAC")
	}
	return nil
}

func readMAC(card string) (net.HardwareAddr, error) {
	text, err := os.ReadFile(filepath.Join("/sys/class/net", card, "address"))
	if err != nil {
		return nil, err
	}
	return net.ParseMAC(strings.TrimSpace(string(text)))
}

// down takes a device down and sets its MAC and MTU; nil and 0 leave them.
func (b *batch) down(index int, mac []byte, mtu uint32) {
	b.begin(unix.RTM_NEWLINK, 0, "take it down", nil)
	m := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(m[4:], uint32(index))
	binary.NativeEndian.PutUint32(m[12:], unix.IFF_UP)
	b.requests = append(b.requests, m...)
	if mac != nil {
		b.attribute(unix.IFLA_ADDRESS, mac)
	}
	if mtu != 0 {
		b.number(unix.IFLA_MTU, mtu)
	}
	b.finish()
}

// Close gives the socket to the kernel back, and leaves the devices as they are.
func (n *Network) Close() error {
	if n.socket == nil {
		return nil
	}
	socket := *n.socket
	n.socket = nil
	return unix.Close(socket)
}
