package kernel

import (
	"context"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/streaming"
	"github.com/vzctl/vzctl/sdk/progress"
	kernelv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/kernel/v1"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

// Client is a kernel provider in another process.
type Client struct {
	rpc kernelv1.KernelProviderClient
}

var _ Provider = (*Client)(nil)

// NewClient returns the provider at the other end of a connection from package launch or plugintest. Paths it answers are absolute and clean.
func NewClient(conn grpc.ClientConnInterface, _ sdk.Info) *Client {
	return &Client{rpc: kernelv1.NewKernelProviderClient(conn)}
}

// List implements Provider.
func (c *Client) List(ctx context.Context, arch, cacheDir string) ([]Kernel, error) {
	r, err := c.rpc.List(ctx, &kernelv1.ListRequest{Arch: arch, CacheDir: cacheDir})
	if err != nil {
		return nil, err
	}
	check := convert.Answer()
	list := convert.Slice(r.GetKernels(), func(k *kernelv1.Kernel) Kernel { return kernelFromProto(check, k) })
	return list, check.Err()
}

// Ensure implements Provider.
func (c *Client) Ensure(ctx context.Context, request EnsureRequest, report progress.Func) (Kernel, error) {
	open := func(ctx context.Context) (grpc.ServerStreamingClient[kernelv1.EnsureResponse], error) {
		return c.rpc.Ensure(ctx, ensureToProto(request))
	}
	split := func(m *kernelv1.EnsureResponse) (*pluginv1.Progress, *kernelv1.Kernel) {
		return m.GetProgress(), m.GetResult()
	}
	r, err := streaming.Await(ctx, open, split, report)
	if err != nil {
		return Kernel{}, err
	}
	check := convert.Answer()
	k := kernelFromProto(check, r)
	return k, check.Err()
}
