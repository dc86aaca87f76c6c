// Package rootfs is the contract of the rootfs builder kind. The comments in sdk/proto/vzctl/rootfs/v1/rootfs.proto are part of it.
package rootfs

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/sdk/progress"
)

// Builder is implemented by a plugin and by its client.
type Builder interface {
	Build(ctx context.Context, request BuildRequest, report progress.Func) (Built, error)
	CreateWritable(ctx context.Context, request WritableRequest) (Disk, error)
	Export(ctx context.Context, request ExportRequest, report progress.Func) (sizeBytes int64, err error)
	List(ctx context.Context, cacheDir string) ([]Entry, error)
	Delete(ctx context.Context, requestID, cacheDir string, manifest digest.Digest) error
}

// Keys and values of Info.Capabilities of this kind.
const (
	CapabilityFileSystem = "file-system" // values: "ext4", ...
)

// Purposes of writable disks.
const (
	Layer  = "layer"
	Volume = "volume"
)

// Disk is a disk image. Digest is empty for writable disks.
type Disk struct {
	Path           string        `json:"path"`
	FileSystem     string        `json:"fileSystem"`
	Digest         digest.Digest `json:"digest,omitempty"`
	ReadOnly       bool          `json:"readOnly"`
	SizeBytes      int64         `json:"sizeBytes"`
	AllocatedBytes int64         `json:"allocatedBytes"`
}

// BuildRequest asks for the disks of an image manifest.
type BuildRequest struct {
	RequestID  string
	LayoutPath string
	Manifest   digest.Digest
	CacheDir   string
}

// Built has the disks, lowest first.
type Built struct {
	Disks    []Disk
	Cached   bool
	Warnings []string
}

// WritableRequest asks for an empty file system.
type WritableRequest struct {
	RequestID string
	Path      string
	SizeBytes int64
	Purpose   string
	Options   map[string]string
}

// ExportRequest asks for a tar of disks, lowest first.
type ExportRequest struct {
	RequestID  string
	Disks      []Disk
	OutputPath string
}

// Entry of a cache.
type Entry struct {
	Manifest digest.Digest
	Disks    []Disk
}
