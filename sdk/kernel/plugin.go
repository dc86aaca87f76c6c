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

// Plugin makes an implementation ready for sdk.Serve.
func Plugin(info sdk.Info, impl Provider) sdk.Plugin {
	return sdk.NewPlugin(sdk.KernelProvider, info, impl, func(r grpc.ServiceRegistrar) {
		kernelv1.RegisterKernelProviderServer(r, &server{impl: impl})
	})
}

type server struct {
	kernelv1.UnimplementedKernelProviderServer
	impl Provider
}

func (s *server) List(ctx context.Context, r *kernelv1.ListRequest) (*kernelv1.ListResponse, error) {
	list, err := s.impl.List(ctx, r.GetArch(), r.GetCacheDir())
	if err != nil {
		return nil, err
	}
	return &kernelv1.ListResponse{Kernels: convert.Slice(list, kernelToProto)}, nil
}

func (s *server) Ensure(r *kernelv1.EnsureRequest, stream grpc.ServerStreamingServer[kernelv1.EnsureResponse]) error {
	wrap := func(p *pluginv1.Progress) *kernelv1.EnsureResponse {
		return &kernelv1.EnsureResponse{Of: &kernelv1.EnsureResponse_Progress{Progress: p}}
	}
	return streaming.Serve(stream, wrap, func(report progress.Func) (*kernelv1.EnsureResponse, error) {
		k, err := s.impl.Ensure(stream.Context(), ensureFromProto(r), report)
		return &kernelv1.EnsureResponse{Of: &kernelv1.EnsureResponse_Result{Result: kernelToProto(k)}}, err
	})
}
