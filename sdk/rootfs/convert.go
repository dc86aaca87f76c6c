package rootfs

import (
	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/sdk/internal/convert"
	rootfsv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/rootfs/v1"
)

func diskToProto(d Disk) *rootfsv1.Disk {
	return &rootfsv1.Disk{
		Path: d.Path, FileSystem: d.FileSystem, Digest: string(d.Digest), ReadOnly: d.ReadOnly, SizeBytes: d.SizeBytes, AllocatedBytes: d.AllocatedBytes,
	}
}

func diskFromProto(check *convert.Checks, d *rootfsv1.Disk) Disk {
	return Disk{
		Path: check.Path("disk", d.GetPath()), FileSystem: d.GetFileSystem(), Digest: digest.Digest(d.GetDigest()), ReadOnly: d.GetReadOnly(),
		SizeBytes: d.GetSizeBytes(), AllocatedBytes: d.GetAllocatedBytes(),
	}
}

func disksFromProto(check *convert.Checks, list []*rootfsv1.Disk) []Disk {
	return convert.Slice(list, func(d *rootfsv1.Disk) Disk { return diskFromProto(check, d) })
}

func manifestFromProto(check *convert.Checks, text string) digest.Digest {
	d := digest.Digest(text)
	if err := d.Validate(); err != nil {
		check.Fail("manifest", text, "which is no digest: "+err.Error())
	}
	return d
}

func buildToProto(r BuildRequest) *rootfsv1.BuildRequest {
	return &rootfsv1.BuildRequest{RequestId: r.RequestID, LayoutPath: r.LayoutPath, Manifest: string(r.Manifest), CacheDir: r.CacheDir}
}

func buildFromProto(check *convert.Checks, r *rootfsv1.BuildRequest) BuildRequest {
	return BuildRequest{
		RequestID: r.GetRequestId(), LayoutPath: check.Path("layout", r.GetLayoutPath()), Manifest: manifestFromProto(check, r.GetManifest()),
		CacheDir: check.Path("cache", r.GetCacheDir()),
	}
}

func builtToProto(b Built) *rootfsv1.BuildResult {
	return &rootfsv1.BuildResult{Disks: convert.Slice(b.Disks, diskToProto), Cached: b.Cached, Warnings: b.Warnings}
}

func builtFromProto(check *convert.Checks, b *rootfsv1.BuildResult) Built {
	return Built{Disks: disksFromProto(check, b.GetDisks()), Cached: b.GetCached(), Warnings: b.GetWarnings()}
}

func writableToProto(r WritableRequest) *rootfsv1.CreateWritableRequest {
	return &rootfsv1.CreateWritableRequest{RequestId: r.RequestID, Path: r.Path, SizeBytes: r.SizeBytes, Purpose: r.Purpose, Options: r.Options}
}

func writableFromProto(check *convert.Checks, r *rootfsv1.CreateWritableRequest) WritableRequest {
	return WritableRequest{
		RequestID: r.GetRequestId(), Path: check.Path("disk", r.GetPath()), SizeBytes: r.GetSizeBytes(), Purpose: r.GetPurpose(), Options: r.GetOptions(),
	}
}

func exportToProto(r ExportRequest) *rootfsv1.ExportRequest {
	return &rootfsv1.ExportRequest{RequestId: r.RequestID, Disks: convert.Slice(r.Disks, diskToProto), OutputPath: r.OutputPath}
}

func exportFromProto(check *convert.Checks, r *rootfsv1.ExportRequest) ExportRequest {
	return ExportRequest{RequestID: r.GetRequestId(), Disks: disksFromProto(check, r.GetDisks()), OutputPath: check.Path("output", r.GetOutputPath())}
}

func entryToProto(e Entry) *rootfsv1.Entry {
	return &rootfsv1.Entry{Manifest: string(e.Manifest), Disks: convert.Slice(e.Disks, diskToProto)}
}

func entryFromProto(check *convert.Checks, e *rootfsv1.Entry) Entry {
	return Entry{Manifest: manifestFromProto(check, e.GetManifest()), Disks: disksFromProto(check, e.GetDisks())}
}
