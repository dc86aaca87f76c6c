// Package registry is an image source that pulls from OCI and Docker registries. It knows references, the way to a registry, and what a registry's
// failures mean; walking an image and writing blobs is in sdk/imagesource/transfer and sdk/layout, the protocol and its
// authentication in oras-go. It keeps nothing between calls.
//
// Read source.go first, client.go for timeouts and redirects, failure.go for the errors.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/imagesource"
	"github.com/vzctl/vzctl/sdk/imagesource/transfer"
	"github.com/vzctl/vzctl/sdk/layout"
	"github.com/vzctl/vzctl/sdk/progress"
)

// Source pulls from registries. It implements imagesource.Source.
type Source struct {
	// ConnectTimeout is how long a connection and its TLS handshake may take; 0: 10 s.
	ConnectTimeout time.Duration
	// StallTimeout is how long a registry may send nothing; 0: 30 s. A small document as a whole may take four times that.
	StallTimeout time.Duration
	// UserAgent is sent to registries; empty: "vzctl".
	UserAgent string
}

// Resolve looks a reference up. The configuration of an image that has no index is read too: nothing else says its platform.
func (s Source) Resolve(ctx context.Context, request imagesource.ResolveRequest) (imagesource.Resolved, error) {
	const op = "resolve"
	session, err := s.connect(request.Reference, request.Access)
	if err != nil {
		return imagesource.Resolved{}, wrap(op, request.Reference, err)
	}
	defer session.close()
	tree, err := session.walk(ctx, request.Platforms)
	if err != nil {
		return imagesource.Resolved{}, session.explain(ctx, op, err)
	}
	return session.resolved(tree), nil
}

// Pull brings an image into a layout.
func (s Source) Pull(ctx context.Context, request imagesource.PullRequest, report progress.Func) (imagesource.Pulled, error) {
	const op = "pull"
	if !filepath.IsAbs(request.LayoutPath) {
		return imagesource.Pulled{}, &fault.Error{Reason: fault.Invalid, Op: op, Subject: request.Reference,
			Cause: fmt.Errorf("the path of the layout %q is not absolute", request.LayoutPath)}
	}
	session, err := s.connect(request.Reference, request.Access)
	if err != nil {
		return imagesource.Pulled{}, wrap(op, request.Reference, err)
	}
	defer session.close()
	tree, err := session.walk(ctx, request.Platforms)
	if err != nil {
		return imagesource.Pulled{}, session.explain(ctx, op, err)
	}
	transferred, err := tree.Pull(ctx, layout.Dir{Path: request.LayoutPath}, request.MaxConcurrent, report)
	if err != nil {
		return imagesource.Pulled{}, session.explain(ctx, op, err)
	}
	return imagesource.Pulled{Resolved: session.resolved(tree), TransferredBytes: transferred}, nil
}

// session is one call's way to one repository. It is a transfer.Origin.
type session struct {
	reference  reference
	repository *remote.Repository
	close      func()
	patience   time.Duration // for a document
	stall      time.Duration
	plain      bool
}

func (s *session) resolved(tree *transfer.Tree) imagesource.Resolved {
	return imagesource.Resolved{CanonicalReference: s.reference.canonical, Root: tree.Root, Manifests: tree.Manifests}
}

func (s *session) walk(ctx context.Context, platforms []ocispec.Platform) (*transfer.Tree, error) {
	root, raw, err := s.manifest(ctx, s.reference.version)
	if err != nil {
		return nil, err
	}
	return transfer.Walk(ctx, s, root, raw, platforms)
}

// manifest fetches a manifest or index by tag or digest.
func (s *session) manifest(ctx context.Context, version string) (ocispec.Descriptor, []byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.patience, errTooSlow)
	defer cancel()
	d, body, err := s.repository.Manifests().FetchReference(ctx, version)
	if err != nil {
		return d, nil, cause(ctx, err)
	}
	raw, err := readDocument(ctx, body)
	if err != nil {
		return d, nil, err
	}
	// Checked by the caller too, but only once it knows that this is a manifest: a login page is no damaged image.
	return d, raw, nil
}

// Document implements transfer.Origin.
func (s *session) Document(ctx context.Context, of ocispec.Descriptor) ([]byte, error) {
	if transfer.IsIndex(of.MediaType) || transfer.IsManifest(of.MediaType) {
		_, raw, err := s.manifest(ctx, of.Digest.String())
		return raw, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.patience, errTooSlow)
	defer cancel()
	body, err := s.repository.Blobs().Fetch(ctx, of)
	if err != nil {
		return nil, cause(ctx, err)
	}
	return readDocument(ctx, body)
}

// Blob implements transfer.Origin.
func (s *session) Blob(ctx context.Context, of ocispec.Descriptor) (io.ReadCloser, error) {
	return s.repository.Blobs().Fetch(ctx, of)
}

func readDocument(ctx context.Context, body io.ReadCloser) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(body, layout.MaxDocument+1))
	// A failure to close after all was read loses nothing.
	if closeErr := body.Close(); err != nil {
		return nil, cause(ctx, errors.Join(err, closeErr))
	}
	if len(raw) > layout.MaxDocument {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "read manifest", Cause: fmt.Errorf("it is larger than %d MiB", layout.MaxDocument>>20),
			Hint: "check the reference"}
	}
	return raw, nil
}

// cause prefers our own deadline to the error it made of a request.
func cause(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errTooSlow) {
		return errTooSlow
	}
	return err
}
