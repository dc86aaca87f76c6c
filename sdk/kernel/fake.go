package kernel

import (
	"context"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/progress"
)

// Fake is a Provider of functions, for tests. A call whose function is nil fails with fault.Internal.
type Fake struct {
	ListFunc   func(ctx context.Context, arch, cacheDir string) ([]Kernel, error)
	EnsureFunc func(ctx context.Context, request EnsureRequest, report progress.Func) (Kernel, error)
}

var _ Provider = (*Fake)(nil)

func unset(call string) error {
	return &fault.Error{Reason: fault.Internal, Op: call, Subject: "fake kernel provider"}
}

// List implements Provider.
func (f *Fake) List(ctx context.Context, arch, cacheDir string) ([]Kernel, error) {
	if f.ListFunc == nil {
		return nil, unset("list")
	}
	return f.ListFunc(ctx, arch, cacheDir)
}

// Ensure implements Provider.
func (f *Fake) Ensure(ctx context.Context, request EnsureRequest, report progress.Func) (Kernel, error) {
	if f.EnsureFunc == nil {
		return Kernel{}, unset("ensure")
	}
	return f.EnsureFunc(ctx, request, report)
}
