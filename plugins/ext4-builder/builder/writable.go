package builder

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
	"github.com/vzctl/vzctl/plugins/ext4-builder/sparse"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// labels of writable disks, by purpose. Export knows a layer by it.
var labels = map[string]string{rootfs.Layer: "vzctl-layer", rootfs.Volume: "vzctl-volume"}

// inLayer are the directories that an overlay keeps its parts in. A guest would make them itself, which costs an emulated one milliseconds with each new container.
var inLayer = []ext4.EmptyDir{{Name: upperDir, Mode: 0o755}, {Name: workDir, Mode: 0o700}}

// CreateWritable makes an empty file system; a layer has the directories of an overlay, which are empty. On an error nothing is left.
func (Builder) CreateWritable(ctx context.Context, request rootfs.WritableRequest) (rootfs.Disk, error) {
	const op = "make disk"
	invalid := func(reason fault.Reason, format string, args ...any) (rootfs.Disk, error) {
		return rootfs.Disk{}, &fault.Error{Reason: reason, Op: op, Subject: request.Path, Cause: fmt.Errorf(format, args...)}
	}
	if err := absolute(request.Path); err != nil {
		return invalid(fault.Invalid, "%w", err)
	}
	label, ok := labels[request.Purpose]
	if !ok {
		return invalid(fault.Invalid, "unknown purpose %q, want %q or %q", request.Purpose, rootfs.Layer, rootfs.Volume)
	}
	if request.SizeBytes < ext4.MinFormat || request.SizeBytes > ext4.MaxFormat {
		return invalid(fault.Invalid, "size of %d bytes, want %d MiB to %d TiB", request.SizeBytes, ext4.MinFormat>>20, int64(ext4.MaxFormat)>>40)
	}
	for name := range request.Options {
		return invalid(fault.Unsupported, "unknown option %q", name)
	}
	var dirs []ext4.EmptyDir
	if request.Purpose == rootfs.Layer {
		dirs = inLayer
	}
	info, err := format(ctx, request.Path, request.SizeBytes, label, dirs)
	if err != nil {
		return rootfs.Disk{}, failed(op, request.Path, request.Path, err)
	}
	return rootfs.Disk{
		Path: request.Path, FileSystem: FileSystem, SizeBytes: info.Size(), AllocatedBytes: sparse.Allocated(info),
	}, nil
}

func format(ctx context.Context, path string, size int64, label string, dirs []ext4.EmptyDir) (info os.FileInfo, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	opts := ext4.Options{UUID: randomUUID(), HashSeed: randomUUID(), Label: label}
	if err := ext4.Format(ctx, sparse.NewFile(f), size, opts, dirs...); err != nil {
		return nil, err
	}
	return f.Stat()
}

// randomUUID returns one of version 4.
func randomUUID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails, by its documentation
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// isLayer reports whether a disk was made as a writable layer.
func isLayer(r *ext4.Reader) bool { return r.Label() == labels[rootfs.Layer] }
