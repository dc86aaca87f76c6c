package rootfs

import (
	"context"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/streaming"
	"github.com/vzctl/vzctl/sdk/progress"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
	rootfsv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/rootfs/v1"
)

// Plugin makes an implementation ready for sdk.Serve. Paths of requests are absolute and clean, and manifests are digests, before impl sees them.
func Plugin(info sdk.Info, impl Builder) sdk.Plugin {
	return sdk.NewPlugin(sdk.RootfsBuilder, info, impl, func(r grpc.ServiceRegistrar) {
		rootfsv1.RegisterRootfsBuilderServer(r, &server{impl: impl})
	})
}

type server struct {
	rootfsv1.UnimplementedRootfsBuilderServer
	impl Builder
}

func (s *server) Build(r *rootfsv1.BuildRequest, stream grpc.ServerStreamingServer[rootfsv1.BuildResponse]) error {
	check := convert.Request()
	request := buildFromProto(check, r)
	if err := check.Err(); err != nil {
		return err
	}
	wrap := func(p *pluginv1.Progress) *rootfsv1.BuildResponse {
		return &rootfsv1.BuildResponse{Of: &rootfsv1.BuildResponse_Progress{Progress: p}}
	}
	return streaming.Serve(stream, wrap, func(report progress.Func) (*rootfsv1.BuildResponse, error) {
		built, err := s.impl.Build(stream.Context(), request, report)
		return &rootfsv1.BuildResponse{Of: &rootfsv1.BuildResponse_Result{Result: builtToProto(built)}}, err
	})
}

func (s *server) CreateWritable(ctx context.Context, r *rootfsv1.CreateWritableRequest) (*rootfsv1.CreateWritableResponse, error) {
	check := convert.Request()
	request := writableFromProto(check, r)
	if err := check.Err(); err != nil {
		return nil, err
	}
	disk, err := s.impl.CreateWritable(ctx, request)
	if err != nil {
		return nil, err
	}
	return &rootfsv1.CreateWritableResponse{Disk: diskToProto(disk)}, nil
}

func (s *server) Export(r *rootfsv1.ExportRequest, stream grpc.ServerStreamingServer[rootfsv1.ExportResponse]) error {
	check := convert.Request()
	request := exportFromProto(check, r)
	if err := check.Err(); err != nil {
		return err
	}
	wrap := func(p *pluginv1.Progress) *rootfsv1.ExportResponse {
		return &rootfsv1.ExportResponse{Of: &rootfsv1.ExportResponse_Progress{Progress: p}}
	}
	return streaming.Serve(stream, wrap, func(report progress.Func) (*rootfsv1.ExportResponse, error) {
		size, err := s.impl.Export(stream.Context(), request, report)
		return &rootfsv1.ExportResponse{Of: &rootfsv1.ExportResponse_Result{Result: &rootfsv1.ExportResult{SizeBytes: size}}}, err
	})
}

func (s *server) List(ctx context.Context, r *rootfsv1.ListRequest) (*rootfsv1.ListResponse, error) {
	check := convert.Request()
	dir := check.Path("cache", r.GetCacheDir())
	if err := check.Err(); err != nil {
		return nil, err
	}
	list, err := s.impl.List(ctx, dir)
	if err != nil {
		return nil, err
	}
	return &rootfsv1.ListResponse{Entries: convert.Slice(list, entryToProto)}, nil
}

func (s *server) Delete(ctx context.Context, r *rootfsv1.DeleteRequest) (*rootfsv1.DeleteResponse, error) {
	check := convert.Request()
	dir, manifest := check.Path("cache", r.GetCacheDir()), manifestFromProto(check, r.GetManifest())
	if err := check.Err(); err != nil {
		return nil, err
	}
	if err := s.impl.Delete(ctx, r.GetRequestId(), dir, manifest); err != nil {
		return nil, err
	}
	return &rootfsv1.DeleteResponse{}, nil
}
