// Package vmtest plays a VM in tests: a TCP/IP stack behind the VM's end of a unix-datagram link, set up as the guest agent would do it.
package vmtest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/vzctl/vzctl/sdk/network"
)

const card = tcpip.NICID(1)

// VM is a guest that has configured its network card.
type VM struct {
	Endpoint network.Endpoint

	conn  *net.UnixConn
	peer  *net.UnixAddr
	stack *stack.Stack
	link  *channel.Endpoint
	stop  context.CancelFunc
	work  sync.WaitGroup
}

// Start brings a VM up at the other end of an endpoint's link. It is closed with the test.
func Start(t testing.TB, e network.Endpoint) *VM {
	t.Helper()
	vm := &VM{Endpoint: e, peer: &net.UnixAddr{Net: "unixgram", Name: e.Link.UnixDatagram.NetworkPath}}
	_ = os.Remove(e.Link.UnixDatagram.VMPath)
	var err error
	if vm.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: e.Link.UnixDatagram.VMPath}); err != nil {
		t.Fatal(err)
	}
	_ = vm.conn.SetReadBuffer(8 << 20)
	_ = vm.conn.SetWriteBuffer(8 << 20)
	mac, err := net.ParseMAC(e.MAC)
	if err != nil {
		t.Fatal(err)
	}
	vm.link = channel.New(1024, e.MTU+header.EthernetMinimumSize, tcpip.LinkAddress(mac))
	vm.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if err := vm.stack.CreateNIC(card, ethernet.New(vm.link)); err != nil {
		t.Fatal(err)
	}
	var routes []tcpip.Route
	for _, a := range e.Addresses {
		at := tcpip.ProtocolAddress{Protocol: protocol(a.Addr()), AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(a.Addr()), PrefixLen: a.Bits()}}
		if err := vm.stack.AddProtocolAddress(card, at, stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
		routes = append(routes, tcpip.Route{Destination: subnet(t, a.Masked()), NIC: card})
	}
	for _, r := range e.Routes {
		route := tcpip.Route{Destination: subnet(t, r.Destination), NIC: card}
		if r.Gateway.IsValid() {
			route.Gateway = address(r.Gateway)
		}
		routes = append(routes, route)
	}
	vm.stack.SetRouteTable(routes)
	var ctx context.Context
	ctx, vm.stop = context.WithCancel(context.Background())
	vm.work.Go(func() { vm.send(ctx) })
	vm.work.Go(vm.receive)
	t.Cleanup(vm.Close)
	return vm
}

func subnet(t testing.TB, p netip.Prefix) tcpip.Subnet {
	t.Helper()
	mask := net.CIDRMask(p.Bits(), p.Addr().BitLen())
	s, err := tcpip.NewSubnet(address(p.Addr()), tcpip.MaskFromBytes(mask))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Close ends the VM and removes its end of the link. It may be called twice.
func (vm *VM) Close() {
	vm.stop()
	_ = os.Remove(vm.Endpoint.Link.UnixDatagram.VMPath)
	vm.conn.Close()
	vm.work.Wait()
	vm.stack.Close()
}

// Address is the VM's own, of IPv4 if it has one.
func (vm *VM) Address() netip.Addr { return vm.Endpoint.Addresses[0].Addr() }

// AddressV6 is the VM's own of IPv6.
func (vm *VM) AddressV6() netip.Addr {
	return vm.Endpoint.Addresses[len(vm.Endpoint.Addresses)-1].Addr()
}

func (vm *VM) send(ctx context.Context) {
	for {
		pkt := vm.link.ReadContext(ctx)
		if pkt == nil {
			return
		}
		b := pkt.ToBuffer()
		_ = vm.Raw(b.Flatten())
		pkt.DecRef()
	}
}

func (vm *VM) receive() {
	b := make([]byte, 1<<17)
	for {
		n, err := vm.conn.Read(b)
		if err != nil {
			return
		}
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b[:n])})
		vm.link.InjectInbound(0, pkt)
		pkt.DecRef()
	}
}

// Raw sends any bytes as a frame, and gives up when the network does not take them.
func (vm *VM) Raw(frame []byte) error {
	_ = vm.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, err := vm.conn.WriteToUnix(frame, vm.peer)
	return err
}

func address(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

func protocol(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: card, Addr: address(a.Addr()), Port: a.Port()}
}

// DialTCP connects from inside the VM.
func (vm *VM) DialTCP(ctx context.Context, to netip.AddrPort) (*gonet.TCPConn, error) {
	return gonet.DialContextTCP(ctx, vm.stack, full(to), protocol(to.Addr()))
}

// ListenTCP listens inside the VM on its address.
func (vm *VM) ListenTCP(port uint16) (net.Listener, error) { return vm.ListenOn(vm.Address(), port) }

// ListenOn listens inside the VM on one of its addresses.
func (vm *VM) ListenOn(a netip.Addr, port uint16) (net.Listener, error) {
	return gonet.ListenTCP(vm.stack, full(netip.AddrPortFrom(a, port)), protocol(a))
}

// DialUDP makes a connected UDP socket inside the VM.
func (vm *VM) DialUDP(to netip.AddrPort) (net.Conn, error) {
	at := full(to)
	return gonet.DialUDP(vm.stack, nil, &at, protocol(to.Addr()))
}

// Ping sends an ICMP echo request and waits for the answer.
func (vm *VM) Ping(ctx context.Context, to netip.Addr) error {
	queue := new(waiter.Queue)
	kind, request := icmp.ProtocolNumber4, make([]byte, header.ICMPv4MinimumSize)
	header.ICMPv4(request).SetType(header.ICMPv4Echo)
	if to.Is6() {
		kind, request = icmp.ProtocolNumber6, make([]byte, header.ICMPv6EchoMinimumSize)
		header.ICMPv6(request).SetType(header.ICMPv6EchoRequest)
	}
	ep, tcpErr := vm.stack.NewEndpoint(kind, protocol(to), queue)
	if tcpErr != nil {
		return errors.New(tcpErr.String())
	}
	defer ep.Close()
	conn := gonet.NewUDPConn(queue, ep) // it sends and receives whatever the endpoint does
	if err := ep.Connect(full(netip.AddrPortFrom(to, 0))); err != nil {
		return errors.New(err.String())
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	answer := make([]byte, 128)
	_, err := conn.Read(answer)
	return err
}
