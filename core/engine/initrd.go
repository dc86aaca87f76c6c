package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/core/images"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource"
)

// guestArches are those that the Makefile builds kernels and init images for.
var guestArches = []string{"amd64", "arm64"}

// Initrd returns the path of the init image for guests of an architecture, as OCI writes it: beside Options.InitrdPath the one with the architecture in
// its name, initrd-arm64.cpio beside initrd.cpio; for the host's own otherwise Options.InitrdPath itself. If there is none, the error says how to get it.
func (e *Engine) Initrd(arch string) (string, error) {
	own := e.options.InitrdPath
	extension := filepath.Ext(own)
	path := strings.TrimSuffix(own, extension) + "-" + arch + extension
	err := checkInitrd(path)
	if err == nil {
		return path, nil
	}
	if arch == runtime.GOARCH && errors.Is(err, os.ErrNotExist) {
		path = own
		if err = checkInitrd(path); err == nil {
			return path, nil
		}
	}
	hint := "make all builds it"
	switch {
	case !slices.Contains(guestArches, arch):
		return "", &fault.Error{Reason: fault.Unsupported, Op: "run guests of architecture", Subject: arch,
			Cause: errors.New("vzctl has no kernel and no init image for it"), Hint: "choose an image for " + strings.Join(guestArches, " or ")}
	case arch != runtime.GOARCH:
		hint = fmt.Sprintf("build it with: make initrd ARCH=%s; the kernel with: make kernel ARCH=%[1]s", arch)
	}
	return "", &fault.Error{Reason: fault.NotFound, Op: "use the guest's init image for " + arch, Subject: path, Cause: err, Hint: hint}
}

func checkInitrd(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return os.ErrNotExist // the path is named already
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is not a file")
	}
	return nil
}

// checkGuest refuses guests without an init image before anything is pulled for them. That the image is not for the platform is the better answer, so
// that is asked first, and costs no more than the image's manifests.
func (e *Engine) checkGuest(ctx context.Context, r CreateRequest) error {
	platform, err := images.ParsePlatform(r.Platform)
	if err != nil {
		return err
	}
	_, missing := e.Initrd(platform.Architecture)
	if missing == nil || platform.Architecture == runtime.GOARCH {
		return missing
	}
	if r.Pull != PullAlways {
		_, err := e.images.Resolve(r.Image, platform)
		if err == nil {
			return missing
		}
		if r.Pull == PullNever || !errors.Is(err, fault.NotFound) {
			return err
		}
	}
	canonical, err := images.Canonical(r.Image)
	if err != nil {
		return err
	}
	choice := r.Plugins[sdk.ImageSource]
	if choice == "" && isPath(canonical) {
		choice = pathSource
	}
	running, err := e.host.Start(ctx, sdk.ImageSource, choice)
	if err != nil {
		return err
	}
	defer e.closePlugin(running)
	source := imagesource.NewClient(running.Conn(), running.Info())
	if _, err := source.Resolve(ctx, imagesource.ResolveRequest{Reference: canonical, Platforms: []ocispec.Platform{platform}}); err != nil {
		return err
	}
	return missing
}
