package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vzctl/vzctl/sdk/network"
)

// quiet is how long nothing must arrive before it counts as not forwarded.
const quiet = 300 * time.Millisecond

func frameCases() []Case {
	return []Case{
		{Name: "the gateway answers ARP", Run: framesGateway},
		{Name: "frames that are none harm nobody", Run: framesMalformed},
		{Name: "endpoints reach each other", Run: framesBetween},
		{Name: "frames with another's MAC are not forwarded", Run: framesSpoofed},
		{Name: "the link works again after the VM's end was replaced", Run: framesReplaced},
	}
}

// told reports whether an event about the endpoint comes soon.
func told(events <-chan network.Event, id string) bool {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	for {
		select {
		case e := <-events:
			if e.Endpoint.ID == id {
				return true
			}
		case <-timer.C:
			return false
		}
	}
}

// restart ends the plugin and starts it again.
func (e *Env) restart(ctx context.Context) error {
	if err := e.Process.Close(ctx); err != nil {
		return err
	}
	process, err := e.start(ctx)
	if err == nil {
		e.Process = process
	}
	return err
}

// port is a VM's end of a link.
type port struct {
	conn    *net.UnixConn
	peer    *net.UnixAddr
	mac     net.HardwareAddr
	address netip.Addr
	// address6 is the last of its addresses, which is of IPv6 where the network has that.
	address6 netip.Addr
}

// plug attaches an endpoint by unix-datagram and takes the VM's end of the link.
func (e *Env) plug(ctx context.Context, id string) (*port, error) {
	if info := e.Process.Info(); !info.Offers(network.CapabilityLink, network.LinkUnixDatagram) {
		return nil, NotRun{Reason: "the plugin does not offer unix-datagram links"}
	}
	r, err := e.attachRequest(id)
	if err != nil {
		return nil, err
	}
	r.LinkTypes = []string{network.LinkUnixDatagram}
	endpoint, err := networks(e).Attach(ctx, r)
	if err != nil {
		return nil, err
	}
	return open(endpoint)
}

func open(e network.Endpoint) (*port, error) {
	if e.Link.UnixDatagram == nil {
		return nil, fmt.Errorf("its link is %q", e.Link.Type())
	}
	mac, err := net.ParseMAC(e.MAC)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: e.Link.UnixDatagram.VMPath, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	return &port{conn: conn, peer: &net.UnixAddr{Name: e.Link.UnixDatagram.NetworkPath, Net: "unixgram"}, mac: mac,
		address: e.Addresses[0].Addr(), address6: e.Addresses[len(e.Addresses)-1].Addr()}, nil
}

// close takes the VM's end away, and its socket's file, as a hypervisor does.
func (p *port) close() {
	p.conn.Close()
	_ = os.Remove(p.conn.LocalAddr().String())
}

func (p *port) send(frame []byte) error {
	_, err := p.conn.WriteToUnix(frame, p.peer)
	return err
}

// await reads frames until one fits, or time is up.
func (p *port) await(d time.Duration, fits func([]byte) bool) bool {
	_ = p.conn.SetReadDeadline(time.Now().Add(d))
	buffer := make([]byte, 1<<16)
	for {
		n, _, err := p.conn.ReadFromUnix(buffer)
		if err != nil {
			return false
		}
		if fits(buffer[:n]) {
			return true
		}
	}
}

// arp is a request from mac and address for the MAC of target, broadcast, as an Ethernet frame.
func arp(mac net.HardwareAddr, address, target netip.Addr) []byte {
	from, to := address.As4(), target.As4()
	f := bytes.Repeat([]byte{0xff}, 6)
	f = append(f, mac...)
	f = append(f, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1)
	f = append(f, mac...)
	f = append(f, from[:]...)
	f = append(f, 0, 0, 0, 0, 0, 0)
	f = append(f, to[:]...)
	return append(f, make([]byte, 60-len(f))...)
}

func isARP(f []byte, operation byte, sender netip.Addr) bool {
	from := sender.As4()
	return len(f) >= 42 && f[12] == 0x08 && f[13] == 0x06 && f[21] == operation && bytes.Equal(f[28:32], from[:])
}

// gateway asks for the gateway's MAC until it is answered: the first request may be lost while the other end takes notice of ours.
func (p *port) gateway(gateway netip.Addr) error {
	for range 5 {
		if err := p.send(arp(p.mac, p.address, gateway)); err != nil {
			return err
		}
		if p.await(time.Second, func(f []byte) bool { return isARP(f, 2, gateway) }) {
			return nil
		}
	}
	return fmt.Errorf("the gateway %v does not answer %v", gateway, p.address)
}

func framesGateway(ctx context.Context, env *Env) error {
	info, err := env.network(ctx)
	if err != nil {
		return err
	}
	a, err := env.plug(ctx, "a")
	if err != nil {
		return err
	}
	err = a.gateway(info.GatewayV4)
	a.close()
	return errors.Join(err, env.leave(ctx, "a"))
}

func framesMalformed(ctx context.Context, env *Env) error {
	info, err := env.network(ctx)
	if err != nil {
		return err
	}
	a, err := env.plug(ctx, "a")
	if err != nil {
		return err
	}
	b, err := env.plug(ctx, "b")
	if err != nil {
		return err
	}
	truncated := arp(a.mac, a.address, info.GatewayV4)[:20]
	ip := append(append(append([]byte{}, bytes.Repeat([]byte{0xff}, 6)...), a.mac...), 0x08, 0x00, 0x4f, 0xff, 0xff, 0xff)
	for _, frame := range [][]byte{{0}, make([]byte, 5), make([]byte, 13), make([]byte, 14), truncated, ip, bytes.Repeat([]byte{0xff}, 1500), make([]byte, 20000)} {
		_ = a.send(frame) // one that is too long for the socket is refused there, which is fine
	}
	err = errors.Join(b.gateway(info.GatewayV4), a.gateway(info.GatewayV4))
	a.close()
	b.close()
	return errors.Join(err, env.leave(ctx, "a", "b"))
}

func framesBetween(ctx context.Context, env *Env) error {
	_, a, b, err := env.pair(ctx)
	if err != nil {
		return err
	}
	if err = a.send(arp(a.mac, a.address, b.address)); err == nil && !b.await(2*time.Second, func(f []byte) bool { return isARP(f, 1, a.address) }) {
		err = errors.New("a broadcast of one did not reach the other")
	}
	a.close()
	b.close()
	return errors.Join(err, env.leave(ctx, "a", "b"))
}

// pair makes a network with two ports that have both been heard.
func (e *Env) pair(ctx context.Context) (info network.Info, a, b *port, err error) {
	if info, err = e.network(ctx); err != nil {
		return
	}
	if a, err = e.plug(ctx, "a"); err != nil {
		return
	}
	if b, err = e.plug(ctx, "b"); err != nil {
		return
	}
	return info, a, b, errors.Join(a.gateway(info.GatewayV4), b.gateway(info.GatewayV4))
}

func framesSpoofed(ctx context.Context, env *Env) error {
	if info := env.Process.Info(); !info.Offers(network.CapabilityFeature, network.FeatureIsolation) {
		return NotRun{Reason: "the plugin does not offer isolation"}
	}
	info, a, b, err := env.pair(ctx)
	if err != nil {
		return err
	}
	stranger := net.HardwareAddr{0x02, 0xde, 0xad, 0xbe, 0xef, 0x01}
	other := info.GatewayV4.Next().Next().Next().Next()
	for what, frame := range map[string][]byte{
		"with a strange MAC":         arp(stranger, a.address, b.address),
		"with the other's MAC":       arp(b.mac, a.address, b.address),
		"claiming another address":   arp(a.mac, other, b.address),
		"claiming to be the gateway": arp(a.mac, info.GatewayV4, b.address),
	} {
		if sendErr := a.send(frame); sendErr != nil {
			err = errors.Join(err, sendErr)
		}
		if b.await(quiet, func(f []byte) bool { return bytes.Equal(f, frame) }) {
			err = errors.Join(err, fmt.Errorf("a frame %s was forwarded", what))
		}
	}
	err = errors.Join(err, a.gateway(info.GatewayV4))
	a.close()
	b.close()
	return errors.Join(err, env.leave(ctx, "a", "b"))
}

func framesReplaced(ctx context.Context, env *Env) error {
	info, err := env.network(ctx)
	if err != nil {
		return err
	}
	for range 3 { // a VM that starts again has the same endpoint
		a, err := env.plug(ctx, "a")
		if err != nil {
			return err
		}
		err = a.gateway(info.GatewayV4)
		a.close()
		if err != nil {
			return err
		}
	}
	return env.leave(ctx, "a")
}
