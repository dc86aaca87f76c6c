package fabric

import (
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/vzctl/vzctl/plugins/user-network/portguard"
)

// Gateway is the network card of the gateway's own TCP/IP stack.
type Gateway struct {
	mac        tcpip.LinkAddress
	mtu        uint32
	network    *Switch
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
	buffers    sync.Pool
}

// NewGateway returns a card with a MAC; what the stack sends goes to the switch.
func NewGateway(mac portguard.MAC, mtu uint32, network *Switch) *Gateway {
	g := &Gateway{mac: tcpip.LinkAddress(mac[:]), mtu: mtu, network: network}
	g.buffers.New = func() any {
		b := make([]byte, portguard.EthernetHeader+int(mtu))
		return &b
	}
	return g
}

// Deliver gives a frame that the guard let pass to the stack. The frame may be reused when it returns.
func (g *Gateway) Deliver(frame []byte) {
	d := g.dispatcher.Load()
	if d == nil {
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame[portguard.EthernetHeader:])})
	defer pkt.DecRef()
	(*d).DeliverNetworkPacket(header.Ethernet(frame).Type(), pkt)
}

// WritePackets implements stack.LinkWriter.
func (g *Gateway) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	b := g.buffers.Get().(*[]byte)
	defer g.buffers.Put(b)
	for _, pkt := range list.AsSlice() {
		frame := (*b)[:portguard.EthernetHeader]
		header.Ethernet(frame).Encode(&header.EthernetFields{
			Type: pkt.NetworkProtocolNumber, SrcAddr: g.mac, DstAddr: pkt.EgressRoute.RemoteLinkAddress})
		for _, part := range pkt.AsSlices() {
			frame = append(frame, part...)
		}
		g.network.Forward(frame)
	}
	return list.Len(), nil
}

// MTU implements stack.NetworkLinkEndpoint, as do the methods below.
func (g *Gateway) MTU() uint32 { return g.mtu }

// SetMTU does nothing: the MTU is the network's.
func (g *Gateway) SetMTU(uint32) {}

// MaxHeaderLength leaves no room for the Ethernet header: WritePackets writes it itself.
func (g *Gateway) MaxHeaderLength() uint16 { return 0 }

// LinkAddress is the gateway's MAC.
func (g *Gateway) LinkAddress() tcpip.LinkAddress { return g.mac }

// SetLinkAddress does nothing: the MAC is the network's.
func (g *Gateway) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities: checksums of what a VM sends are not looked at, for a virtual cable damages nothing and guests leave them out.
func (g *Gateway) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired | stack.CapabilityRXChecksumOffload
}

// Attach takes the stack.
func (g *Gateway) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		g.dispatcher.Store(nil)
		return
	}
	g.dispatcher.Store(&d)
}

// IsAttached reports whether there is a stack.
func (g *Gateway) IsAttached() bool { return g.dispatcher.Load() != nil }

// Wait returns at once: the card has no goroutines.
func (g *Gateway) Wait() {}

// ARPHardwareType is Ethernet's.
func (g *Gateway) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// AddHeader does nothing: WritePackets does.
func (g *Gateway) AddHeader(*stack.PacketBuffer) {}

// ParseHeader does nothing: Deliver has taken the header off.
func (g *Gateway) ParseHeader(*stack.PacketBuffer) bool { return true }

// Close does nothing: the ports belong to others.
func (g *Gateway) Close() {}

// SetOnCloseAction does nothing.
func (g *Gateway) SetOnCloseAction(func()) {}
