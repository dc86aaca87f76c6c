package hypervisor

import (
	"context"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Fake is a Hypervisor of functions, for tests. A call whose function is nil fails with fault.Internal. It offers no optional interface: embed it to add one.
type Fake struct {
	CreateFunc func(ctx context.Context, requestID string, spec Spec) (VM, error)
	StartFunc  func(ctx context.Context, id string) (VM, error)
	StopFunc   func(ctx context.Context, id string, mode StopMode) (VM, error)
	DeleteFunc func(ctx context.Context, requestID, id string) error
	GetFunc    func(ctx context.Context, id string) (VM, error)
	ListFunc   func(ctx context.Context) ([]VM, error)
	WatchFunc  func(ctx context.Context, id string, event func(VM)) error
}

var _ Hypervisor = (*Fake)(nil)

func unset(call string) error {
	return &fault.Error{Reason: fault.Internal, Op: call, Subject: "fake hypervisor"}
}

// Create implements Hypervisor.
func (f *Fake) Create(ctx context.Context, requestID string, spec Spec) (VM, error) {
	if f.CreateFunc == nil {
		return VM{}, unset("create")
	}
	return f.CreateFunc(ctx, requestID, spec)
}

// Start implements Hypervisor.
func (f *Fake) Start(ctx context.Context, id string) (VM, error) {
	if f.StartFunc == nil {
		return VM{}, unset("start")
	}
	return f.StartFunc(ctx, id)
}

// Stop implements Hypervisor.
func (f *Fake) Stop(ctx context.Context, id string, mode StopMode) (VM, error) {
	if f.StopFunc == nil {
		return VM{}, unset("stop")
	}
	return f.StopFunc(ctx, id, mode)
}

// Delete implements Hypervisor.
func (f *Fake) Delete(ctx context.Context, requestID, id string) error {
	if f.DeleteFunc == nil {
		return unset("delete")
	}
	return f.DeleteFunc(ctx, requestID, id)
}

// Get implements Hypervisor.
func (f *Fake) Get(ctx context.Context, id string) (VM, error) {
	if f.GetFunc == nil {
		return VM{}, unset("get")
	}
	return f.GetFunc(ctx, id)
}

// List implements Hypervisor.
func (f *Fake) List(ctx context.Context) ([]VM, error) {
	if f.ListFunc == nil {
		return nil, unset("list")
	}
	return f.ListFunc(ctx)
}

// Watch implements Hypervisor.
func (f *Fake) Watch(ctx context.Context, id string, event func(VM)) error {
	if f.WatchFunc == nil {
		return unset("watch")
	}
	return f.WatchFunc(ctx, id, event)
}
