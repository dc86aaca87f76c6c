// Package builder serves the rootfs builder kind with ext4 images: one read-only disk for each image manifest, and empty writable disks.
// Turning layers into bytes is the business of packages image, layers and ext4, keeping them that of cache; here are names, checks and the
// errors users read. Read this file first, then writable.go and export.go.
package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/ext4-builder/cache"
	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
	"github.com/vzctl/vzctl/plugins/ext4-builder/image"
	"github.com/vzctl/vzctl/plugins/ext4-builder/sparse"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/progress"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// FileSystem is how guests mount all disks made here.
const FileSystem = "ext4"

const (
	suffix     = ".ext4"
	reportUnit = 1 << 20 // bytes between two reports of progress
)

// Builder implements rootfs.Builder. It holds no state: everything is in the directories it is given.
type Builder struct{}

var _ rootfs.Builder = Builder{}

// Build makes or finds the image of a manifest at "<cache>/<algorithm>-<hex>-v<image.Version>.ext4". Warnings come from a build only.
func (Builder) Build(ctx context.Context, request rootfs.BuildRequest, report progress.Func) (rootfs.Built, error) {
	const op = "build root file system of"
	subject := request.Manifest.String()
	if err := request.Manifest.Validate(); err != nil {
		return rootfs.Built{}, &fault.Error{Reason: fault.Invalid, Op: op, Subject: subject, Cause: err}
	}
	if err := absolute(request.CacheDir, request.LayoutPath); err != nil {
		return rootfs.Built{}, &fault.Error{Reason: fault.Invalid, Op: op, Subject: subject, Cause: err}
	}
	if err := os.MkdirAll(request.CacheDir, 0o700); err != nil {
		return rootfs.Built{}, failed(op, subject, request.CacheDir, err)
	}
	want := image.Options(request.Manifest).UUID
	var result *image.Result
	path, made, err := directory(request.CacheDir).Get(ctx, key(request.Manifest, image.Version),
		func(path string) bool { return hasUUID(path, want) },
		func(f *os.File) (err error) {
			result, err = image.Build(ctx, image.Layout{Dir: request.LayoutPath}, request.Manifest, sparse.NewFile(f), meter(report, request.Manifest))
			return err
		})
	if err != nil {
		return rootfs.Built{}, failed(op, subject, request.CacheDir, err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return rootfs.Built{}, failed(op, subject, request.CacheDir, err)
	}
	built := rootfs.Built{Disks: []rootfs.Disk{readOnly(path, info, request.Manifest, image.Version)}, Cached: !made}
	if made {
		built.Warnings = warnings(result.Skipped)
	}
	return built, nil
}

// List has an entry for each image; one manifest has several if versions of this program that make different images share the cache.
func (Builder) List(_ context.Context, cacheDir string) ([]rootfs.Entry, error) {
	const op = "list root file systems in"
	if err := absolute(cacheDir); err != nil {
		return nil, &fault.Error{Reason: fault.Invalid, Op: op, Subject: cacheDir, Cause: err}
	}
	files, err := directory(cacheDir).List()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, failed(op, cacheDir, cacheDir, err)
	}
	var entries []rootfs.Entry
	for _, f := range files {
		if manifest, version, ok := parseKey(f.Key); ok {
			entries = append(entries, rootfs.Entry{Manifest: manifest, Disks: []rootfs.Disk{readOnly(f.Path, f.Info, manifest, version)}})
		}
	}
	return entries, nil
}

// Delete removes the images of a manifest, whichever version made them.
func (b Builder) Delete(ctx context.Context, _, cacheDir string, manifest digest.Digest) error {
	const op = "delete root file system of"
	if err := errors.Join(manifest.Validate(), absolute(cacheDir)); err != nil {
		return &fault.Error{Reason: fault.Invalid, Op: op, Subject: manifest.String(), Cause: err}
	}
	files, err := directory(cacheDir).List()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, f := range files {
		if of, _, ok := parseKey(f.Key); ok && of == manifest {
			err = errors.Join(err, directory(cacheDir).Delete(f.Key))
		}
	}
	if err != nil {
		return failed(op, manifest.String(), cacheDir, err)
	}
	return nil
}

// absolute refuses paths that would mean something else here than where they come from.
func absolute(paths ...string) error {
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("the path %q is not absolute", path)
		}
	}
	return nil
}

func directory(path string) cache.Dir { return cache.Dir{Path: path, Suffix: suffix} }

// key of a manifest whose digest is valid, so that it cannot lead elsewhere.
func key(manifest digest.Digest, version int) string {
	return fmt.Sprintf("%s-%s-v%d", manifest.Algorithm(), manifest.Encoded(), version)
}

func parseKey(name string) (manifest digest.Digest, version int, ok bool) {
	rest, number, found := cutLast(name, "-v")
	algorithm, hex, cut := strings.Cut(rest, "-")
	version, err := strconv.Atoi(number)
	manifest = digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
	// What is not written exactly so is not ours.
	ok = found && cut && err == nil && manifest.Validate() == nil && key(manifest, version) == name
	return manifest, version, ok
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

// readOnly describes an image of the cache. Its digest is one of what decides every byte, the manifest and the version, not of the bytes:
// equal digests mean equal content, and nobody has to read the disk for it.
func readOnly(path string, info os.FileInfo, manifest digest.Digest, version int) rootfs.Disk {
	return rootfs.Disk{
		Path: path, FileSystem: FileSystem, ReadOnly: true, SizeBytes: info.Size(), AllocatedBytes: sparse.Allocated(info),
		Digest: digest.FromString(fmt.Sprintf("vzctl ext4 image v%d of %s", version, manifest)),
	}
}

// hasUUID reports whether a complete image lies at path. A build writes the superblock last and renames after that, so this asks whether it is
// the right file, not whether its disk has kept it.
func hasUUID(path string, want [16]byte) bool {
	f, info, err := openDisk(path)
	if err != nil {
		return false
	}
	defer f.Close() // only read
	r, err := ext4.NewReader(f, info.Size())
	return err == nil && r.UUID() == want
}

// openDisk opens a regular file for reading.
func openDisk(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is not a regular file", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// meter passes progress on in steps worth a message.
func meter(report progress.Func, manifest digest.Digest) image.Progress {
	reported := int64(-reportUnit)
	return func(done, total int64) {
		if done-reported >= reportUnit || done == total {
			reported = done
			report.Report(progress.Update{Step: "build", Item: manifest.String(), Done: done, Total: total, Unit: progress.Bytes})
		}
	}
}

func warnings(skipped map[string]int) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(skipped)) {
		lines = append(lines, fmt.Sprintf("extended attribute %q of %d files was left out: ext4 has no place for it", name, skipped[name]))
	}
	return lines
}
