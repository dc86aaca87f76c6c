package network

import (
	"context"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/streaming"
	networkv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/network/v1"
)

// Plugin makes an implementation ready for sdk.Serve. Optional interfaces ([Publisher], [Namer]) are served if impl has them.
func Plugin(info sdk.Info, impl Network) sdk.Plugin {
	return sdk.NewPlugin(sdk.Network, info, impl, func(r grpc.ServiceRegistrar) {
		networkv1.RegisterNetworkServer(r, &server{impl: impl})
	})
}

type server struct {
	networkv1.UnimplementedNetworkServer
	impl Network
}

func (s *server) Create(ctx context.Context, r *networkv1.CreateRequest) (*networkv1.CreateResponse, error) {
	info, err := s.impl.Create(ctx, r.GetRequestId(), configFromProto(r.GetConfig()))
	if err != nil {
		return nil, err
	}
	return &networkv1.CreateResponse{Network: infoToProto(info)}, nil
}

func (s *server) Delete(ctx context.Context, r *networkv1.DeleteRequest) (*networkv1.DeleteResponse, error) {
	if err := s.impl.Delete(ctx, r.GetRequestId(), r.GetName()); err != nil {
		return nil, err
	}
	return &networkv1.DeleteResponse{}, nil
}

func (s *server) List(ctx context.Context, _ *networkv1.ListRequest) (*networkv1.ListResponse, error) {
	list, err := s.impl.List(ctx)
	if err != nil {
		return nil, err
	}
	return &networkv1.ListResponse{Networks: convert.Slice(list, infoToProto)}, nil
}

func (s *server) Attach(ctx context.Context, r *networkv1.AttachRequest) (*networkv1.AttachResponse, error) {
	check := convert.Request()
	request := attachFromProto(check, r)
	if err := check.Err(); err != nil {
		return nil, err
	}
	endpoint, err := s.impl.Attach(ctx, request)
	if err != nil {
		return nil, err
	}
	return &networkv1.AttachResponse{Endpoint: endpointToProto(endpoint)}, nil
}

func (s *server) Detach(ctx context.Context, r *networkv1.DetachRequest) (*networkv1.DetachResponse, error) {
	if err := s.impl.Detach(ctx, r.GetRequestId(), r.GetNetwork(), r.GetEndpointId()); err != nil {
		return nil, err
	}
	return &networkv1.DetachResponse{}, nil
}

func (s *server) ListEndpoints(ctx context.Context, r *networkv1.ListEndpointsRequest) (*networkv1.ListEndpointsResponse, error) {
	list, err := s.impl.ListEndpoints(ctx, r.GetNetwork())
	if err != nil {
		return nil, err
	}
	return &networkv1.ListEndpointsResponse{Endpoints: convert.Slice(list, endpointToProto)}, nil
}

func (s *server) Publish(ctx context.Context, r *networkv1.PublishRequest) (*networkv1.PublishResponse, error) {
	publisher, ok := s.impl.(Publisher)
	if !ok {
		return nil, convert.Missing("publish ports", CapabilityFeature+" "+FeaturePublish)
	}
	check := convert.Request()
	ports := portsFromProto(check, r.GetPorts())
	if err := check.Err(); err != nil {
		return nil, err
	}
	ports, err := publisher.Publish(ctx, r.GetNetwork(), r.GetEndpointId(), ports)
	if err != nil {
		return nil, err
	}
	return &networkv1.PublishResponse{Ports: convert.Slice(ports, portToProto)}, nil
}

func (s *server) SetNames(ctx context.Context, r *networkv1.SetNamesRequest) (*networkv1.SetNamesResponse, error) {
	namer, ok := s.impl.(Namer)
	if !ok {
		return nil, convert.Missing("set names", CapabilityFeature+" "+FeatureNames)
	}
	if err := namer.SetNames(ctx, r.GetNetwork(), r.GetEndpointId(), r.GetNames()); err != nil {
		return nil, err
	}
	return &networkv1.SetNamesResponse{}, nil
}

func (s *server) Watch(r *networkv1.WatchRequest, stream grpc.ServerStreamingServer[networkv1.WatchResponse]) error {
	return streaming.Watch(stream, func(ctx context.Context, send func(*networkv1.WatchResponse)) error {
		return s.impl.Watch(ctx, r.GetNetwork(), func(e Event) { send(eventToProto(e)) })
	})
}
