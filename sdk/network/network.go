// Package network is the contract of the network kind. The comments in sdk/proto/vzctl/network/v1/network.proto are part of it: order of
// calls, blocking, idempotency.
package network

import (
	"context"
	"net/netip"
)

// Network is implemented by a plugin and by its client.
type Network interface {
	Create(ctx context.Context, requestID string, config Config) (Info, error)
	Delete(ctx context.Context, requestID, name string) error
	List(ctx context.Context) ([]Info, error)
	Attach(ctx context.Context, request AttachRequest) (Endpoint, error)
	Detach(ctx context.Context, requestID, network, endpoint string) error
	ListEndpoints(ctx context.Context, network string) ([]Endpoint, error)
	// Watch calls event in order until ctx ends or the network is deleted.
	Watch(ctx context.Context, network string, event func(Event)) error
}

// Publisher is implemented by networks that offer capability "publish".
type Publisher interface {
	Publish(ctx context.Context, network, endpoint string, ports []Port) ([]Port, error)
}

// Namer is implemented by networks that offer capability "names".
type Namer interface {
	SetNames(ctx context.Context, network, endpoint string, names []string) error
}

// Keys and values of Info.Capabilities of this kind.
const (
	CapabilityLink    = "link"    // values: LinkUnixDatagram, ...
	CapabilityFamily  = "family"  // values: "ipv4", "ipv6"
	CapabilityFeature = "feature" // values: FeaturePublish, ...

	FeaturePublish   = "publish"
	FeatureNames     = "names"
	FeatureIsolation = "isolation" // endpoints cannot send with another's address
	FeatureInternal  = "internal"

	LinkUnixDatagram = "unix-datagram"
	LinkTap          = "tap"
	LinkUnixStream   = "unix-stream"
	LinkVZNAT        = "vz-nat"
)

// Config describes a network. See vzctl.network.v1.Config.
type Config struct {
	Name              string
	SubnetV4          string
	SubnetV6          string
	GatewayV4         string
	GatewayV6         string
	Internal          bool
	MTU               uint32
	AllowHostLoopback bool
	AllowLAN          bool
	Options           map[string]string
	RuntimeDir        string
	StateDir          string
}

// Info is a network as it came to be.
type Info struct {
	Name      string
	SubnetV4  netip.Prefix
	SubnetV6  netip.Prefix
	GatewayV4 netip.Addr
	GatewayV6 netip.Addr
	MTU       uint32
	Internal  bool
}

// AttachRequest asks for an endpoint. Zero values leave the choice to the plugin.
type AttachRequest struct {
	RequestID  string
	Network    string
	EndpointID string
	AddressV4  netip.Addr
	AddressV6  netip.Addr
	MAC        string
	LinkTypes  []string
	LinkDir    string
	Names      []string
	Ports      []Port
}

// Endpoint is a VM's place on a network.
type Endpoint struct {
	ID        string
	Network   string
	Addresses []netip.Prefix
	Routes    []Route
	DNS       DNS
	MTU       uint32
	MAC       string
	Link      Link
	Ports     []Port
	Names     []string
}

// Route is on the link if Gateway is not valid.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr
}

// DNS is what a guest's resolver is told.
type DNS struct {
	Servers []netip.Addr
	Search  []string
	Options []string
	Domain  string
}

// Protocol of a published port.
type Protocol string

// The protocols.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Port is published on the host.
type Port struct {
	Protocol     Protocol
	HostAddress  netip.Addr // not valid: every address
	HostPort     uint16     // 0: the plugin chooses
	EndpointPort uint16
}

// Link is exactly one of its fields.
type Link struct {
	UnixDatagram *UnixDatagram
	Tap          *Tap
	UnixStream   *UnixStream
	VZNAT        *VZNAT
}

// Type returns the name of the link's type, or "".
func (l Link) Type() string {
	switch {
	case l.UnixDatagram != nil:
		return LinkUnixDatagram
	case l.Tap != nil:
		return LinkTap
	case l.UnixStream != nil:
		return LinkUnixStream
	case l.VZNAT != nil:
		return LinkVZNAT
	}
	return ""
}

// UnixDatagram carries one Ethernet frame a datagram. The hypervisor binds VMPath, the network NetworkPath.
type UnixDatagram struct{ VMPath, NetworkPath string }

// Tap is a device in a network namespace.
type Tap struct{ Device, NetnsPath string }

// UnixStream carries frames behind their length in 4 bytes, big endian.
type UnixStream struct{ NetworkPath string }

// VZNAT is the NAT of Virtualization.framework.
type VZNAT struct{}

// EventType of an Event.
type EventType string

// The events.
const (
	Attached  EventType = "attached"
	Detached  EventType = "detached"
	Violation EventType = "violation"
	Uplink    EventType = "uplink"
)

// Event is something that happened to a network.
type Event struct {
	Type     EventType
	Endpoint Endpoint
	Message  string
}
