package imagesource

import (
	"context"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/progress"
)

// Fake is a Source of functions, for tests. A call whose function is nil fails with fault.Internal. It offers no optional interface: embed it to add one.
type Fake struct {
	ResolveFunc func(ctx context.Context, request ResolveRequest) (Resolved, error)
	PullFunc    func(ctx context.Context, request PullRequest, report progress.Func) (Pulled, error)
}

var _ Source = (*Fake)(nil)

func unset(call string) error {
	return &fault.Error{Reason: fault.Internal, Op: call, Subject: "fake image source"}
}

// Resolve implements Source.
func (f *Fake) Resolve(ctx context.Context, request ResolveRequest) (Resolved, error) {
	if f.ResolveFunc == nil {
		return Resolved{}, unset("resolve")
	}
	return f.ResolveFunc(ctx, request)
}

// Pull implements Source.
func (f *Fake) Pull(ctx context.Context, request PullRequest, report progress.Func) (Pulled, error) {
	if f.PullFunc == nil {
		return Pulled{}, unset("pull")
	}
	return f.PullFunc(ctx, request, report)
}
