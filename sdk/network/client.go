package network

import (
	"context"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/streaming"
	networkv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/network/v1"
)

// Client is a network in another process. Optional calls that the plugin does not offer fail with fault.Unsupported.
type Client struct {
	rpc  networkv1.NetworkClient
	info sdk.Info
}

var (
	_ Network   = (*Client)(nil)
	_ Publisher = (*Client)(nil)
	_ Namer     = (*Client)(nil)
)

// NewClient returns the network at the other end of a connection from package launch or plugintest. What it answers is checked for form: addresses parse,
// paths are absolute; whether paths lie where they should is the caller's to check, see package hostpath.
func NewClient(conn grpc.ClientConnInterface, info sdk.Info) *Client {
	return &Client{rpc: networkv1.NewNetworkClient(conn), info: info}
}

// Create implements Network.
func (c *Client) Create(ctx context.Context, requestID string, config Config) (Info, error) {
	r, err := c.rpc.Create(ctx, &networkv1.CreateRequest{RequestId: requestID, Config: configToProto(config)})
	if err != nil {
		return Info{}, err
	}
	check := convert.Answer()
	info := infoFromProto(check, r.GetNetwork())
	return info, check.Err()
}

// Delete implements Network.
func (c *Client) Delete(ctx context.Context, requestID, name string) error {
	_, err := c.rpc.Delete(ctx, &networkv1.DeleteRequest{RequestId: requestID, Name: name})
	return err
}

// List implements Network.
func (c *Client) List(ctx context.Context) ([]Info, error) {
	r, err := c.rpc.List(ctx, &networkv1.ListRequest{})
	if err != nil {
		return nil, err
	}
	check := convert.Answer()
	list := convert.Slice(r.GetNetworks(), func(i *networkv1.NetworkInfo) Info { return infoFromProto(check, i) })
	return list, check.Err()
}

// Attach implements Network.
func (c *Client) Attach(ctx context.Context, request AttachRequest) (Endpoint, error) {
	r, err := c.rpc.Attach(ctx, attachToProto(request))
	if err != nil {
		return Endpoint{}, err
	}
	check := convert.Answer()
	endpoint := endpointFromProto(check, r.GetEndpoint())
	return endpoint, check.Err()
}

// Detach implements Network.
func (c *Client) Detach(ctx context.Context, requestID, network, endpoint string) error {
	_, err := c.rpc.Detach(ctx, &networkv1.DetachRequest{RequestId: requestID, Network: network, EndpointId: endpoint})
	return err
}

// ListEndpoints implements Network.
func (c *Client) ListEndpoints(ctx context.Context, network string) ([]Endpoint, error) {
	r, err := c.rpc.ListEndpoints(ctx, &networkv1.ListEndpointsRequest{Network: network})
	if err != nil {
		return nil, err
	}
	check := convert.Answer()
	list := convert.Slice(r.GetEndpoints(), func(e *networkv1.Endpoint) Endpoint { return endpointFromProto(check, e) })
	return list, check.Err()
}

// Publish implements Publisher.
func (c *Client) Publish(ctx context.Context, network, endpoint string, ports []Port) ([]Port, error) {
	if !c.info.Offers(CapabilityFeature, FeaturePublish) {
		return nil, convert.Missing("publish ports", CapabilityFeature+" "+FeaturePublish)
	}
	r, err := c.rpc.Publish(ctx, &networkv1.PublishRequest{Network: network, EndpointId: endpoint, Ports: convert.Slice(ports, portToProto)})
	if err != nil {
		return nil, err
	}
	check := convert.Answer()
	published := portsFromProto(check, r.GetPorts())
	return published, check.Err()
}

// SetNames implements Namer.
func (c *Client) SetNames(ctx context.Context, network, endpoint string, names []string) error {
	if !c.info.Offers(CapabilityFeature, FeatureNames) {
		return convert.Missing("set names", CapabilityFeature+" "+FeatureNames)
	}
	_, err := c.rpc.SetNames(ctx, &networkv1.SetNamesRequest{Network: network, EndpointId: endpoint, Names: names})
	return err
}

// Watch implements Network.
func (c *Client) Watch(ctx context.Context, network string, event func(Event)) error {
	open := func(ctx context.Context) (grpc.ServerStreamingClient[networkv1.WatchResponse], error) {
		return c.rpc.Watch(ctx, &networkv1.WatchRequest{Network: network})
	}
	return streaming.Events(ctx, open, func(m *networkv1.WatchResponse) error {
		check := convert.Answer()
		e := eventFromProto(check, m)
		if err := check.Err(); err != nil {
			return err
		}
		event(e)
		return nil
	})
}
