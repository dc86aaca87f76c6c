package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/core/events"
	"github.com/vzctl/vzctl/core/images"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/progress"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// pathSource is the image source of references that are paths, unless another is chosen.
const pathSource = "oci-layout"

// image finds the image of a request, pulling it as its policy says.
func (e *Engine) image(ctx context.Context, r CreateRequest, report progress.Func) (images.Image, error) {
	platform, err := images.ParsePlatform(r.Platform)
	if err != nil {
		return images.Image{}, err
	}
	if r.Pull != PullAlways {
		image, err := e.images.Resolve(r.Image, platform)
		if err == nil {
			return image, nil
		}
		if r.Pull == PullNever || !errors.Is(err, fault.NotFound) {
			return images.Image{}, err
		}
	}
	return e.pull(ctx, r.Image, platform, r.Plugins[sdk.ImageSource], report)
}

// pull brings an image into the store through an image source plugin.
func (e *Engine) pull(ctx context.Context, reference string, platform ocispec.Platform, choice string, report progress.Func) (_ images.Image, err error) {
	canonical, err := images.Canonical(reference)
	if err != nil {
		return images.Image{}, err
	}
	if choice == "" && isPath(canonical) {
		choice = pathSource
	}
	// Until it is named nothing of it may be collected.
	release, err := e.images.Hold(ctx)
	if err != nil {
		return images.Image{}, err
	}
	defer func() { err = errors.Join(err, release()) }()
	running, err := e.host.Start(ctx, sdk.ImageSource, choice)
	if err != nil {
		return images.Image{}, err
	}
	defer e.closePlugin(running)
	source := imagesource.NewClient(running.Conn(), running.Info())
	pulled, err := source.Pull(ctx, imagesource.PullRequest{RequestID: "pull " + store.NewID(), Reference: canonical,
		Platforms: []ocispec.Platform{platform}, LayoutPath: e.images.Path()}, report)
	if err != nil {
		return images.Image{}, err
	}
	// The name is the user's, whatever a plugin makes of it.
	if err := e.images.Add(ctx, canonical, pulled.Root, running.Info().Name); err != nil {
		return images.Image{}, err
	}
	image, err := e.images.Resolve(canonical, platform)
	if err != nil {
		return images.Image{}, err
	}
	if err := e.images.Verify(image); err != nil {
		return images.Image{}, fmt.Errorf("image source %q: %w", running.Info().Name, err)
	}
	e.tell(ctx, events.Event{Type: "image", Action: "pull", ID: image.ID.String(), Name: image.Name})
	return image, nil
}

// PullImage pulls, whatever is there already.
func (e *Engine) PullImage(ctx context.Context, reference, platform, plugin string, report progress.Func) (Image, error) {
	p, err := images.ParsePlatform(firstNonEmpty(platform, e.hostPlatform()))
	if err != nil {
		return Image{}, err
	}
	image, err := e.pull(ctx, reference, p, plugin, report)
	if err != nil {
		return Image{}, err
	}
	return imageView(image), nil
}

// ListImages returns what is in the store.
func (e *Engine) ListImages(context.Context) ([]Image, error) {
	all, err := e.images.List()
	if err != nil {
		return nil, err
	}
	views := make([]Image, len(all))
	for i, image := range all {
		views[i] = imageView(image)
	}
	return views, nil
}

// InspectImage returns an image with its configuration.
func (e *Engine) InspectImage(_ context.Context, ref, platform string) (Image, error) {
	p, err := images.ParsePlatform(firstNonEmpty(platform, e.hostPlatform()))
	if err != nil {
		return Image{}, err
	}
	image, err := e.images.Resolve(ref, p)
	if err != nil {
		return Image{}, err
	}
	v := imageView(image)
	v.Config = image.Config
	return v, nil
}

func imageView(i images.Image) Image {
	v := Image{Reference: i.Reference, Name: i.Name, ID: i.ID, Root: i.Root.Digest, Manifest: i.Manifest.Digest, Size: i.Size, Created: i.Config.Created}
	if i.Problem == nil {
		v.Platform = images.FormatPlatform(i.Platform)
	}
	return v
}

// RemoveImage removes a reference, and with the last one of an image its layers and the root file system made of them, unless a container uses it.
// While somebody creates a container or pulls, only the reference goes; the next removal frees the rest.
func (e *Engine) RemoveImage(ctx context.Context, ref string) (freedBytes int64, err error) {
	freedBytes, err = e.images.Remove(ctx, ref)
	if err != nil {
		return 0, err
	}
	e.tell(ctx, events.Event{Type: "image", Action: "remove", Name: ref})
	release, alone, err := e.images.TryAlone()
	if err != nil || !alone {
		return freedBytes, err
	}
	freed, err := e.dropRootfs(ctx)
	if releaseErr := release(); err == nil {
		err = releaseErr
	}
	return freedBytes + freed, err
}

// dropRootfs removes the built disks of images that are not in the store and that no container uses. Nobody holds the store.
func (e *Engine) dropRootfs(ctx context.Context) (freedBytes int64, err error) {
	leases, err := e.store.Leases()
	if err != nil {
		return 0, err
	}
	all, err := e.images.List()
	if err != nil {
		return 0, err
	}
	used := map[digest.Digest]bool{}
	for _, image := range all {
		used[image.Manifest.Digest] = true
	}
	for manifest := range leases.Manifests {
		used[manifest] = true
	}
	running, err := e.host.Start(ctx, sdk.RootfsBuilder, "")
	if err != nil {
		return 0, err
	}
	defer e.closePlugin(running)
	builder, cache := rootfs.NewClient(running.Conn(), running.Info()), e.store.Paths().Rootfs()
	entries, err := builder.List(ctx, cache)
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		if used[entry.Manifest] {
			continue
		}
		if err := builder.Delete(ctx, "delete "+store.NewID(), cache, entry.Manifest); err != nil {
			return freedBytes, err
		}
		for _, d := range entry.Disks {
			freedBytes += d.AllocatedBytes
		}
	}
	return freedBytes, nil
}

// BuildRootfs writes an image's root file system to a new file.
func (e *Engine) BuildRootfs(ctx context.Context, reference, platform, output string, report progress.Func) (err error) {
	release, err := e.images.Hold(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	request := CreateRequest{Image: reference, Platform: firstNonEmpty(platform, e.hostPlatform())}
	image, err := e.image(ctx, request, report)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		reason := fault.FailedPrecondition
		if errors.Is(err, os.ErrExist) {
			reason = fault.AlreadyExists
		}
		return &fault.Error{Reason: reason, Op: "write root file system to", Subject: output, Cause: errors.Unwrap(err)}
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			err = errors.Join(err, os.Remove(output))
		}
	}()
	running, err := e.host.Start(ctx, sdk.RootfsBuilder, "")
	if err != nil {
		return err
	}
	defer e.closePlugin(running)
	built, err := rootfs.NewClient(running.Conn(), running.Info()).Build(ctx, rootfs.BuildRequest{RequestID: "build " + store.NewID(),
		LayoutPath: e.images.Path(), Manifest: image.Manifest.Digest, CacheDir: e.store.Paths().Rootfs()}, report)
	if err != nil {
		return err
	}
	if err := checkDisks(built.Disks, e.store.Paths().Rootfs()); err != nil {
		return err
	}
	if len(built.Disks) != 1 {
		return &fault.Error{Reason: fault.Unsupported, Op: "write root file system to", Subject: output,
			Cause: fmt.Errorf("the rootfs builder made %d disks of the image", len(built.Disks))}
	}
	return copySparse(out, built.Disks[0].Path)
}

// copySparse copies a file without the zeros in it.
func copySparse(out *os.File, path string) (err error) {
	in, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	const piece = 1 << 16
	buffer, zeros := make([]byte, piece), make([]byte, piece)
	for at := int64(0); ; {
		n, err := io.ReadFull(in, buffer)
		if n > 0 && string(buffer[:n]) != string(zeros[:n]) {
			if _, err := out.WriteAt(buffer[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return out.Truncate(info.Size())
		}
		if err != nil {
			return err
		}
	}
}
