// Package layoutsource is an image source that reads OCI image layouts on this machine: directories, or tar files of them. A reference is the absolute
// path of one, and which image of it is meant: "/srv/dir:tag", "/srv/file.tar:tag", "/srv/dir@sha256:...", or just "/srv/dir" if there is one image or
// one is tagged "latest". Paths are absolute because a plugin runs in another directory than the user; the host completes them.
//
// Blobs are copied and checked on the way, never linked: a layout that somebody changes later must not change what was pulled.
//
// Read source.go first, directory.go and tarfile.go for where files come from, index.go for how an image is chosen.
package layoutsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/imagesource/transfer"
	"github.com/vzctl/vzctl/sdk/layout"
	"github.com/vzctl/vzctl/sdk/progress"
)

// Source implements imagesource.Source. Access means nothing to it: files have their own permissions.
type Source struct{}

// Resolve looks a reference up.
func (Source) Resolve(ctx context.Context, request imagesource.ResolveRequest) (imagesource.Resolved, error) {
	const op = "resolve"
	image, err := open(request.Reference)
	if err != nil {
		return imagesource.Resolved{}, explain(ctx, op, request.Reference, err)
	}
	defer image.close()
	tree, err := image.walk(ctx, request.Platforms)
	if err != nil {
		return imagesource.Resolved{}, explain(ctx, op, request.Reference, err)
	}
	return image.resolved(tree), nil
}

// Pull copies an image into the host's layout.
func (Source) Pull(ctx context.Context, request imagesource.PullRequest, report progress.Func) (imagesource.Pulled, error) {
	const op = "pull"
	if !filepath.IsAbs(request.LayoutPath) {
		return imagesource.Pulled{}, &fault.Error{Reason: fault.Invalid, Op: op, Subject: request.Reference,
			Cause: fmt.Errorf("the path of the layout %q is not absolute", request.LayoutPath)}
	}
	image, err := open(request.Reference)
	if err != nil {
		return imagesource.Pulled{}, explain(ctx, op, request.Reference, err)
	}
	defer image.close()
	tree, err := image.walk(ctx, request.Platforms)
	if err != nil {
		return imagesource.Pulled{}, explain(ctx, op, request.Reference, err)
	}
	transferred, err := tree.Pull(ctx, layout.Dir{Path: request.LayoutPath}, request.MaxConcurrent, report)
	if err != nil {
		return imagesource.Pulled{}, explain(ctx, op, request.Reference, err)
	}
	return imagesource.Pulled{Resolved: image.resolved(tree), TransferredBytes: transferred}, nil
}

// files is what a layout is read from. Names are relative, with slashes. Opened files may be used at the same time.
type files interface {
	// open returns a regular file, or an error that is os.ErrNotExist.
	open(name string) (io.ReadCloser, error)
	close()
}

// image is one image of a layout. It is a transfer.Origin.
type image struct {
	files
	reference reference
	root      ocispec.Descriptor
}

// open finds the image that a reference means.
func open(text string) (*image, error) {
	ref, err := parseReference(text)
	if err != nil {
		return nil, err
	}
	f, err := openFiles(ref.path)
	if err != nil {
		return nil, err
	}
	root, err := find(f, ref)
	if err != nil {
		f.close()
		return nil, err
	}
	return &image{files: f, reference: ref, root: root}, nil
}

func (i *image) resolved(tree *transfer.Tree) imagesource.Resolved {
	return imagesource.Resolved{CanonicalReference: i.reference.canonical(), Root: tree.Root, Manifests: tree.Manifests}
}

func (i *image) walk(ctx context.Context, platforms []ocispec.Platform) (*transfer.Tree, error) {
	raw, err := i.Document(ctx, i.root)
	if err != nil {
		return nil, err
	}
	return transfer.Walk(ctx, i, i.root, raw, platforms)
}

// Document implements transfer.Origin.
func (i *image) Document(ctx context.Context, of ocispec.Descriptor) ([]byte, error) {
	f, err := i.Blob(ctx, of)
	if err != nil {
		return nil, err
	}
	return readAll(f, of.Digest.String())
}

// Blob implements transfer.Origin.
func (i *image) Blob(_ context.Context, of ocispec.Descriptor) (io.ReadCloser, error) {
	if err := of.Digest.Validate(); err != nil { // it becomes part of a path
		return nil, &fault.Error{Reason: fault.Invalid, Op: "read digest", Cause: fmt.Errorf("%s: %w", transfer.Quote(of.Digest.String()), err)}
	}
	return i.open(path.Join(ocispec.ImageBlobsDir, of.Digest.Algorithm().String(), of.Digest.Encoded()))
}

// readAll reads and closes a small file.
func readAll(f io.ReadCloser, name string) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(f, layout.MaxDocument+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(raw) > layout.MaxDocument {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "read", Subject: name, Cause: fmt.Errorf("it is larger than %d MiB", layout.MaxDocument>>20)}
	}
	return raw, nil
}
