package network

import (
	"net/netip"

	"github.com/vzctl/vzctl/sdk/internal/convert"
	networkv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/network/v1"
)

var protocols = convert.Enum[Protocol, networkv1.Protocol]{
	TCP: networkv1.Protocol_PROTOCOL_TCP,
	UDP: networkv1.Protocol_PROTOCOL_UDP,
}

var eventTypes = convert.Enum[EventType, networkv1.EventType]{
	Attached:  networkv1.EventType_EVENT_TYPE_ATTACHED,
	Detached:  networkv1.EventType_EVENT_TYPE_DETACHED,
	Violation: networkv1.EventType_EVENT_TYPE_VIOLATION,
	Uplink:    networkv1.EventType_EVENT_TYPE_UPLINK,
}

func configToProto(c Config) *networkv1.Config {
	return &networkv1.Config{
		Name: c.Name, SubnetV4: c.SubnetV4, SubnetV6: c.SubnetV6, GatewayV4: c.GatewayV4, GatewayV6: c.GatewayV6,
		Internal: c.Internal, Mtu: c.MTU, AllowHostLoopback: c.AllowHostLoopback, AllowLan: c.AllowLAN,
		Options: c.Options, RuntimeDir: c.RuntimeDir, StateDir: c.StateDir,
	}
}

func configFromProto(c *networkv1.Config) Config {
	return Config{
		Name: c.GetName(), SubnetV4: c.GetSubnetV4(), SubnetV6: c.GetSubnetV6(), GatewayV4: c.GetGatewayV4(), GatewayV6: c.GetGatewayV6(),
		Internal: c.GetInternal(), MTU: c.GetMtu(), AllowHostLoopback: c.GetAllowHostLoopback(), AllowLAN: c.GetAllowLan(),
		Options: c.GetOptions(), RuntimeDir: c.GetRuntimeDir(), StateDir: c.GetStateDir(),
	}
}

func infoToProto(i Info) *networkv1.NetworkInfo {
	return &networkv1.NetworkInfo{
		Name: i.Name, SubnetV4: convert.PrefixText(i.SubnetV4), SubnetV6: convert.PrefixText(i.SubnetV6),
		GatewayV4: convert.AddrText(i.GatewayV4), GatewayV6: convert.AddrText(i.GatewayV6), Mtu: i.MTU, Internal: i.Internal,
	}
}

func infoFromProto(check *convert.Checks, i *networkv1.NetworkInfo) Info {
	return Info{
		Name: i.GetName(), SubnetV4: check.Prefix("subnet", i.GetSubnetV4()), SubnetV6: check.Prefix("subnet", i.GetSubnetV6()),
		GatewayV4: check.Addr("gateway", i.GetGatewayV4()), GatewayV6: check.Addr("gateway", i.GetGatewayV6()),
		MTU: i.GetMtu(), Internal: i.GetInternal(),
	}
}

func attachToProto(r AttachRequest) *networkv1.AttachRequest {
	return &networkv1.AttachRequest{
		RequestId: r.RequestID, Network: r.Network, EndpointId: r.EndpointID,
		AddressV4: convert.AddrText(r.AddressV4), AddressV6: convert.AddrText(r.AddressV6), Mac: r.MAC,
		LinkTypes: r.LinkTypes, LinkDir: r.LinkDir, Names: r.Names, Ports: convert.Slice(r.Ports, portToProto),
	}
}

func attachFromProto(check *convert.Checks, r *networkv1.AttachRequest) AttachRequest {
	return AttachRequest{
		RequestID: r.GetRequestId(), Network: r.GetNetwork(), EndpointID: r.GetEndpointId(),
		AddressV4: check.Addr("address", r.GetAddressV4()), AddressV6: check.Addr("address", r.GetAddressV6()), MAC: check.MAC("MAC", r.GetMac()),
		LinkTypes: r.GetLinkTypes(), LinkDir: r.GetLinkDir(), Names: r.GetNames(), Ports: portsFromProto(check, r.GetPorts()),
	}
}

func endpointToProto(e Endpoint) *networkv1.Endpoint {
	return &networkv1.Endpoint{
		Id: e.ID, Network: e.Network, Addresses: convert.Slice(e.Addresses, convert.PrefixText),
		Routes: convert.Slice(e.Routes, func(r Route) *networkv1.Route {
			return &networkv1.Route{Destination: convert.PrefixText(r.Destination), Gateway: convert.AddrText(r.Gateway)}
		}),
		Dns: &networkv1.Dns{
			Servers: convert.Slice(e.DNS.Servers, convert.AddrText), Search: e.DNS.Search, Options: e.DNS.Options, Domain: e.DNS.Domain,
		},
		Mtu: e.MTU, Mac: e.MAC, Link: LinkToProto(e.Link), Ports: convert.Slice(e.Ports, portToProto), Names: e.Names,
	}
}

func endpointFromProto(check *convert.Checks, e *networkv1.Endpoint) Endpoint {
	return Endpoint{
		ID: e.GetId(), Network: e.GetNetwork(),
		Addresses: convert.Slice(e.GetAddresses(), func(text string) netip.Prefix { return required(check, "address", text) }),
		Routes: convert.Slice(e.GetRoutes(), func(r *networkv1.Route) Route {
			return Route{Destination: required(check, "route", r.GetDestination()), Gateway: check.Addr("gateway", r.GetGateway())}
		}),
		DNS: DNS{
			Servers: convert.Slice(e.GetDns().GetServers(), func(text string) netip.Addr { return check.Addr("DNS server", text) }),
			Search:  e.GetDns().GetSearch(), Options: e.GetDns().GetOptions(), Domain: e.GetDns().GetDomain(),
		},
		MTU: e.GetMtu(), MAC: check.MAC("MAC", e.GetMac()), Link: checkedLink(check, LinkFromProto(e.GetLink())),
		Ports: portsFromProto(check, e.GetPorts()), Names: e.GetNames(),
	}
}

func required(check *convert.Checks, what, text string) netip.Prefix {
	if text == "" {
		check.Fail(what, text, "which is no IP prefix")
	}
	return check.Prefix(what, text)
}

// checkedLink checks paths as far as their text tells.
func checkedLink(check *convert.Checks, l Link) Link {
	if l.UnixDatagram != nil {
		check.Socket("link path", l.UnixDatagram.VMPath)
		check.Socket("link path", l.UnixDatagram.NetworkPath)
	}
	if l.UnixStream != nil {
		check.Socket("link path", l.UnixStream.NetworkPath)
	}
	if l.Tap != nil && l.Tap.NetnsPath != "" {
		check.Path("network namespace", l.Tap.NetnsPath)
	}
	return l
}

func portToProto(p Port) *networkv1.Port {
	return &networkv1.Port{
		Protocol: protocols.ToWire(p.Protocol), HostAddress: convert.AddrText(p.HostAddress),
		HostPort: uint32(p.HostPort), EndpointPort: uint32(p.EndpointPort),
	}
}

func portsFromProto(check *convert.Checks, ports []*networkv1.Port) []Port {
	return convert.Slice(ports, func(p *networkv1.Port) Port {
		return Port{
			Protocol: protocols.FromWire(p.GetProtocol()), HostAddress: check.Addr("host address", p.GetHostAddress()),
			HostPort: check.Port("host port", p.GetHostPort()), EndpointPort: check.Port("endpoint port", p.GetEndpointPort()),
		}
	})
}

func eventToProto(e Event) *networkv1.WatchResponse {
	return &networkv1.WatchResponse{Type: eventTypes.ToWire(e.Type), Endpoint: endpointToProto(e.Endpoint), Message: e.Message}
}

func eventFromProto(check *convert.Checks, e *networkv1.WatchResponse) Event {
	return Event{Type: eventTypes.FromWire(e.GetType()), Endpoint: endpointFromProto(check, e.GetEndpoint()), Message: e.GetMessage()}
}
