package rootfs

import (
	"context"

	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/internal/convert"
	"github.com/vzctl/vzctl/sdk/internal/streaming"
	"github.com/vzctl/vzctl/sdk/progress"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
	rootfsv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/rootfs/v1"
)

// Client is a builder in another process.
type Client struct {
	rpc rootfsv1.RootfsBuilderClient
}

var _ Builder = (*Client)(nil)

// NewClient returns the builder at the other end of a connection from package launch or plugintest. Paths it answers are absolute and clean; whether they
// lie where they should is the caller's to check, see package hostpath.
func NewClient(conn grpc.ClientConnInterface, _ sdk.Info) *Client {
	return &Client{rpc: rootfsv1.NewRootfsBuilderClient(conn)}
}

// Build implements Builder.
func (c *Client) Build(ctx context.Context, request BuildRequest, report progress.Func) (Built, error) {
	open := func(ctx context.Context) (grpc.ServerStreamingClient[rootfsv1.BuildResponse], error) {
		return c.rpc.Build(ctx, buildToProto(request))
	}
	split := func(m *rootfsv1.BuildResponse) (*pluginv1.Progress, *rootfsv1.BuildResult) {
		return m.GetProgress(), m.GetResult()
	}
	r, err := streaming.Await(ctx, open, split, report)
	if err != nil {
		return Built{}, err
	}
	check := convert.Answer()
	built := builtFromProto(check, r)
	if len(built.Disks) == 0 {
		check.Fail("a build of", string(request.Manifest), "which has no disk")
	}
	return built, check.Err()
}

// CreateWritable implements Builder.
func (c *Client) CreateWritable(ctx context.Context, request WritableRequest) (Disk, error) {
	r, err := c.rpc.CreateWritable(ctx, writableToProto(request))
	if err != nil {
		return Disk{}, err
	}
	check := convert.Answer()
	disk := diskFromProto(check, r.GetDisk())
	return disk, check.Err()
}

// Export implements Builder.
func (c *Client) Export(ctx context.Context, request ExportRequest, report progress.Func) (int64, error) {
	open := func(ctx context.Context) (grpc.ServerStreamingClient[rootfsv1.ExportResponse], error) {
		return c.rpc.Export(ctx, exportToProto(request))
	}
	split := func(m *rootfsv1.ExportResponse) (*pluginv1.Progress, *rootfsv1.ExportResult) {
		return m.GetProgress(), m.GetResult()
	}
	r, err := streaming.Await(ctx, open, split, report)
	return r.GetSizeBytes(), err
}

// List implements Builder.
func (c *Client) List(ctx context.Context, cacheDir string) ([]Entry, error) {
	r, err := c.rpc.List(ctx, &rootfsv1.ListRequest{CacheDir: cacheDir})
	if err != nil {
		return nil, err
	}
	check := convert.Answer()
	list := convert.Slice(r.GetEntries(), func(e *rootfsv1.Entry) Entry { return entryFromProto(check, e) })
	return list, check.Err()
}

// Delete implements Builder.
func (c *Client) Delete(ctx context.Context, requestID, cacheDir string, manifest digest.Digest) error {
	_, err := c.rpc.Delete(ctx, &rootfsv1.DeleteRequest{RequestId: requestID, CacheDir: cacheDir, Manifest: string(manifest)})
	return err
}
