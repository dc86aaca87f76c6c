package transfer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/layout"
	"github.com/vzctl/vzctl/sdk/platform"
)

// Tree is an image for some platforms, as far as its documents tell.
type Tree struct {
	Root ocispec.Descriptor
	// Manifests are the wanted ones, with their platforms.
	Manifests []ocispec.Descriptor
	// Layers of all manifests, each once.
	Layers []ocispec.Descriptor

	origin    Origin
	documents []document // in the order in which they were read, root first
}

// document is a small blob in memory.
type document struct {
	descriptor ocispec.Descriptor
	raw        []byte
}

// Walk reads the documents of an image from its root down. No platforms means all. If one of them is missing the error has the reason
// NotFound and lists those there are.
func Walk(ctx context.Context, origin Origin, root ocispec.Descriptor, raw []byte, platforms []ocispec.Platform) (*Tree, error) {
	t := &Tree{origin: origin, Root: root}
	mediaType, err := MediaTypeOf(raw, root.MediaType)
	if err != nil {
		return nil, err
	}
	t.Root.MediaType = mediaType
	if err := t.keep(t.Root, raw); err != nil {
		return nil, err
	}
	if !IsIndex(mediaType) {
		p, err := t.manifest(ctx, t.Root, raw)
		if err != nil {
			return nil, err
		}
		only := t.Root
		only.Platform = &p
		for _, want := range platforms {
			if platform.Best(want, []ocispec.Descriptor{only}) < 0 {
				return nil, noPlatform(want, []ocispec.Descriptor{only})
			}
		}
		t.Manifests = []ocispec.Descriptor{only}
		return t, nil
	}
	return t, t.index(ctx, raw, platforms)
}

func (t *Tree) index(ctx context.Context, raw []byte, platforms []ocispec.Platform) error {
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return malformed("the index", err)
	}
	if len(index.Manifests) > maxManifests {
		return malformed("the index", fmt.Errorf("it lists %d manifests, at most %d are accepted", len(index.Manifests), maxManifests))
	}
	wanted, err := t.choose(ctx, index.Manifests, platforms)
	if err != nil {
		return err
	}
	for _, d := range wanted {
		raw, err := t.document(ctx, d)
		if err != nil {
			return err
		}
		p, err := t.manifest(ctx, d, raw)
		if err != nil {
			return err
		}
		if !platform.Known(d.Platform) {
			d.Platform = &p
		}
		t.Manifests = append(t.Manifests, d)
	}
	return nil
}

// choose picks the manifests of the platforms.
func (t *Tree) choose(ctx context.Context, all []ocispec.Descriptor, platforms []ocispec.Platform) (wanted []ocispec.Descriptor, err error) {
	var images []ocispec.Descriptor
	for _, d := range all {
		// What is listed as "unknown" is not an image; what is listed without a platform may be one.
		if d.Platform != nil && !platform.Known(d.Platform) || d.Annotations["vnd.docker.reference.type"] != "" {
			continue
		}
		if IsIndex(d.MediaType) || IsManifest(d.MediaType) {
			images = append(images, d)
		}
	}
	if len(images) == 0 {
		return nil, &fault.Error{Reason: fault.NotFound, Op: "read manifest", Cause: fmt.Errorf("the index lists no image")}
	}
	if len(platforms) == 0 {
		wanted = images
	}
	for _, want := range platforms {
		best := platform.Best(want, images)
		if best < 0 {
			if best, err = t.unlabelled(ctx, want, images); err != nil {
				return nil, err
			}
		}
		if best < 0 {
			return nil, noPlatform(want, images)
		}
		if !slices.ContainsFunc(wanted, func(d ocispec.Descriptor) bool { return d.Digest == images[best].Digest }) {
			wanted = append(wanted, images[best])
		}
	}
	for _, d := range wanted {
		if IsIndex(d.MediaType) {
			return nil, &fault.Error{Reason: fault.Unsupported, Op: "read manifest", Cause: fmt.Errorf("an index inside an index"),
				Hint: "pull the inner one by its digest " + d.Digest.String()}
		}
	}
	return wanted, nil
}

// unlabelled looks for a platform among the manifests that are listed without one, and labels what it has looked at.
func (t *Tree) unlabelled(ctx context.Context, want ocispec.Platform, images []ocispec.Descriptor) (int, error) {
	const most = 16 // each costs two requests
	looked := 0
	for i, d := range images {
		if d.Platform != nil || !IsManifest(d.MediaType) || looked == most {
			continue
		}
		looked++
		peek := &Tree{origin: t.origin}
		raw, err := peek.document(ctx, d)
		if err != nil {
			return -1, err
		}
		p, err := peek.manifest(ctx, d, raw)
		if err != nil {
			return -1, err
		}
		images[i].Platform = &p
	}
	return platform.Best(want, images), nil
}

// manifest reads what a manifest lists and returns the platform its configuration names.
func (t *Tree) manifest(ctx context.Context, d ocispec.Descriptor, raw []byte) (ocispec.Platform, error) {
	none := ocispec.Platform{}
	mediaType, err := MediaTypeOf(raw, d.MediaType)
	if err != nil {
		return none, err
	}
	if !IsManifest(mediaType) {
		return none, malformed("the manifest", fmt.Errorf("it is an index"))
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return none, malformed("the manifest", err)
	}
	if t := m.Config.MediaType; t != ocispec.MediaTypeImageConfig && t != mediaTypeDockerConfig {
		return none, unsupported("the configuration", t)
	}
	if len(m.Layers) > maxLayers {
		return none, malformed("the manifest", fmt.Errorf("it lists %d layers, at most %d are accepted", len(m.Layers), maxLayers))
	}
	for _, layer := range m.Layers {
		if !isLayer(layer.MediaType) {
			return none, unsupported("a layer", layer.MediaType)
		}
		if err := checkDigest(layer.Digest); err != nil {
			return none, err
		}
	}
	config, err := t.document(ctx, m.Config)
	if err != nil {
		return none, err
	}
	var image ocispec.Image
	if err := json.Unmarshal(config, &image); err != nil {
		return none, malformed("the configuration", err)
	}
	for _, layer := range m.Layers {
		if !slices.ContainsFunc(t.Layers, func(d ocispec.Descriptor) bool { return d.Digest == layer.Digest && d.Size == layer.Size }) {
			t.Layers = append(t.Layers, layer)
		}
	}
	return platform.Normalize(image.Platform), nil
}

// document reads a small blob once.
func (t *Tree) document(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	for _, have := range t.documents {
		if have.descriptor.Digest == d.Digest && have.descriptor.Size == d.Size {
			return have.raw, nil
		}
	}
	if d.Size < 0 || d.Size > layout.MaxDocument {
		return nil, malformed("the manifest", fmt.Errorf("it lists a document of %d bytes, at most %d MiB are accepted", d.Size, layout.MaxDocument>>20))
	}
	// Before asking: a digest becomes part of an address or path.
	if err := checkDigest(d.Digest); err != nil {
		return nil, err
	}
	raw, err := t.origin.Document(ctx, d)
	if err != nil {
		return nil, err
	}
	return raw, t.keep(d, raw)
}

func (t *Tree) keep(d ocispec.Descriptor, raw []byte) error {
	if err := layout.CheckDocument(d, raw); err != nil {
		return err
	}
	t.documents = append(t.documents, document{d, raw})
	return nil
}

func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return malformed("the manifest", fmt.Errorf("digest %s: %w", Quote(d.String()), err))
	}
	return nil
}

// isLayer reports whether a media type is that of a layer that can be pulled. Foreign layers are not: they are elsewhere, at an address that
// the image chooses.
func isLayer(mediaType string) bool {
	switch mediaType {
	case ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd,
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.diff.tar.zstd":
		return true
	}
	return false
}

func noPlatform(want ocispec.Platform, have []ocispec.Descriptor) error {
	return &fault.Error{Reason: fault.NotFound, Op: "find platform", Subject: platform.Format(want),
		Cause: fmt.Errorf("the image is for %s", platform.Names(have)), Hint: "choose one with --platform"}
}

func malformed(what string, err error) error {
	return &fault.Error{Reason: fault.Invalid, Op: "read manifest", Cause: fmt.Errorf("%s makes no sense: %w", what, err),
		Hint: "the image is damaged at its source"}
}
