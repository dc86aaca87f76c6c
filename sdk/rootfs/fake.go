package rootfs

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/progress"
)

// Fake is a Builder of functions, for tests. A call whose function is nil fails with fault.Internal.
type Fake struct {
	BuildFunc          func(ctx context.Context, request BuildRequest, report progress.Func) (Built, error)
	CreateWritableFunc func(ctx context.Context, request WritableRequest) (Disk, error)
	ExportFunc         func(ctx context.Context, request ExportRequest, report progress.Func) (int64, error)
	ListFunc           func(ctx context.Context, cacheDir string) ([]Entry, error)
	DeleteFunc         func(ctx context.Context, requestID, cacheDir string, manifest digest.Digest) error
}

var _ Builder = (*Fake)(nil)

func unset(call string) error {
	return &fault.Error{Reason: fault.Internal, Op: call, Subject: "fake rootfs builder"}
}

// Build implements Builder.
func (f *Fake) Build(ctx context.Context, request BuildRequest, report progress.Func) (Built, error) {
	if f.BuildFunc == nil {
		return Built{}, unset("build")
	}
	return f.BuildFunc(ctx, request, report)
}

// CreateWritable implements Builder.
func (f *Fake) CreateWritable(ctx context.Context, request WritableRequest) (Disk, error) {
	if f.CreateWritableFunc == nil {
		return Disk{}, unset("create writable")
	}
	return f.CreateWritableFunc(ctx, request)
}

// Export implements Builder.
func (f *Fake) Export(ctx context.Context, request ExportRequest, report progress.Func) (int64, error) {
	if f.ExportFunc == nil {
		return 0, unset("export")
	}
	return f.ExportFunc(ctx, request, report)
}

// List implements Builder.
func (f *Fake) List(ctx context.Context, cacheDir string) ([]Entry, error) {
	if f.ListFunc == nil {
		return nil, unset("list")
	}
	return f.ListFunc(ctx, cacheDir)
}

// Delete implements Builder.
func (f *Fake) Delete(ctx context.Context, requestID, cacheDir string, manifest digest.Digest) error {
	if f.DeleteFunc == nil {
		return unset("delete")
	}
	return f.DeleteFunc(ctx, requestID, cacheDir, manifest)
}
