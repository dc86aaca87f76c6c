package network

import (
	"context"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Fake is a Network of functions, for tests. A call whose function is nil fails with fault.Internal. It offers no optional interface: embed it to add one.
type Fake struct {
	CreateFunc        func(ctx context.Context, requestID string, config Config) (Info, error)
	DeleteFunc        func(ctx context.Context, requestID, name string) error
	ListFunc          func(ctx context.Context) ([]Info, error)
	AttachFunc        func(ctx context.Context, request AttachRequest) (Endpoint, error)
	DetachFunc        func(ctx context.Context, requestID, network, endpoint string) error
	ListEndpointsFunc func(ctx context.Context, network string) ([]Endpoint, error)
	WatchFunc         func(ctx context.Context, network string, event func(Event)) error
}

var _ Network = (*Fake)(nil)

func unset(call string) error {
	return &fault.Error{Reason: fault.Internal, Op: call, Subject: "fake network"}
}

// Create implements Network.
func (f *Fake) Create(ctx context.Context, requestID string, config Config) (Info, error) {
	if f.CreateFunc == nil {
		return Info{}, unset("create")
	}
	return f.CreateFunc(ctx, requestID, config)
}

// Delete implements Network.
func (f *Fake) Delete(ctx context.Context, requestID, name string) error {
	if f.DeleteFunc == nil {
		return unset("delete")
	}
	return f.DeleteFunc(ctx, requestID, name)
}

// List implements Network.
func (f *Fake) List(ctx context.Context) ([]Info, error) {
	if f.ListFunc == nil {
		return nil, unset("list")
	}
	return f.ListFunc(ctx)
}

// Attach implements Network.
func (f *Fake) Attach(ctx context.Context, request AttachRequest) (Endpoint, error) {
	if f.AttachFunc == nil {
		return Endpoint{}, unset("attach")
	}
	return f.AttachFunc(ctx, request)
}

// Detach implements Network.
func (f *Fake) Detach(ctx context.Context, requestID, network, endpoint string) error {
	if f.DetachFunc == nil {
		return unset("detach")
	}
	return f.DetachFunc(ctx, requestID, network, endpoint)
}

// ListEndpoints implements Network.
func (f *Fake) ListEndpoints(ctx context.Context, network string) ([]Endpoint, error) {
	if f.ListEndpointsFunc == nil {
		return nil, unset("list endpoints")
	}
	return f.ListEndpointsFunc(ctx, network)
}

// Watch implements Network.
func (f *Fake) Watch(ctx context.Context, network string, event func(Event)) error {
	if f.WatchFunc == nil {
		return unset("watch")
	}
	return f.WatchFunc(ctx, network, event)
}
