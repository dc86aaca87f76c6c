package network

import networkv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/network/v1"

// LinkToProto converts a link. The hypervisor kind uses it, too. No link gives nil.
func LinkToProto(l Link) *networkv1.Link {
	switch {
	case l.UnixDatagram != nil:
		return &networkv1.Link{Link: &networkv1.Link_UnixDatagram{UnixDatagram: &networkv1.UnixDatagram{
			VmPath: l.UnixDatagram.VMPath, NetworkPath: l.UnixDatagram.NetworkPath,
		}}}
	case l.Tap != nil:
		return &networkv1.Link{Link: &networkv1.Link_Tap{Tap: &networkv1.Tap{Device: l.Tap.Device, NetnsPath: l.Tap.NetnsPath}}}
	case l.UnixStream != nil:
		return &networkv1.Link{Link: &networkv1.Link_UnixStream{UnixStream: &networkv1.UnixStream{NetworkPath: l.UnixStream.NetworkPath}}}
	case l.VZNAT != nil:
		return &networkv1.Link{Link: &networkv1.Link_VzNat{VzNat: &networkv1.VzNat{}}}
	}
	return nil
}

// LinkFromProto converts a link. A type unknown here gives no link, whose Type is "".
func LinkFromProto(l *networkv1.Link) Link {
	switch l := l.GetLink().(type) {
	case *networkv1.Link_UnixDatagram:
		return Link{UnixDatagram: &UnixDatagram{VMPath: l.UnixDatagram.GetVmPath(), NetworkPath: l.UnixDatagram.GetNetworkPath()}}
	case *networkv1.Link_Tap:
		return Link{Tap: &Tap{Device: l.Tap.GetDevice(), NetnsPath: l.Tap.GetNetnsPath()}}
	case *networkv1.Link_UnixStream:
		return Link{UnixStream: &UnixStream{NetworkPath: l.UnixStream.GetNetworkPath()}}
	case *networkv1.Link_VzNat:
		return Link{VZNAT: &VZNAT{}}
	}
	return Link{}
}
