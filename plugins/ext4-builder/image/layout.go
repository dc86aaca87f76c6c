package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/plugins/ext4-builder/layers"
)

const (
	maxManifest = 4 << 20 // bytes, what registries accept
	maxConfig   = 8 << 20
	maxLayers   = 1000
)

// ErrNotFound is wrapped by errors about blobs that are not in the layout.
var ErrNotFound = errors.New("blob not found in layout")

// Layout is an OCI image layout directory, of which only the blobs are used.
type Layout struct{ Dir string }

// open returns a blob's file. d has been validated.
func (l Layout) open(d digest.Digest) (*os.File, error) {
	f, err := os.Open(filepath.Join(l.Dir, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded()))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s in %q", ErrNotFound, d, l.Dir)
	}
	return f, err
}

// readJSON decodes a small blob after checking its digest.
func (l Layout) readJSON(what string, d digest.Digest, limit int64, into any) (err error) {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("%w: %s has digest %q: %v", layers.ErrInvalid, what, d, err)
	}
	f, err := l.open(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	if int64(len(raw)) > limit {
		return fmt.Errorf("%w: %s is larger than %d MiB", layers.ErrInvalid, what, limit>>20)
	}
	if got := d.Algorithm().FromBytes(raw); got != d {
		return &layers.DigestError{What: what, Want: d, Got: got}
	}
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(into); err != nil {
		return fmt.Errorf("%w: %s: %v", layers.ErrInvalid, what, err)
	}
	return nil
}

// layerBlobs returns what there is to apply, bottom first.
func (l Layout) layerBlobs(manifest digest.Digest) ([]layers.Blob, error) {
	var m ocispec.Manifest
	if err := l.readJSON("manifest", manifest, maxManifest, &m); err != nil {
		return nil, err
	}
	var config ocispec.Image
	if err := l.readJSON("image configuration", m.Config.Digest, maxConfig, &config); err != nil {
		return nil, err
	}
	if len(m.Layers) != len(config.RootFS.DiffIDs) || len(m.Layers) > maxLayers {
		return nil, fmt.Errorf("%w: manifest lists %d layers, configuration %d (at most %d)",
			layers.ErrInvalid, len(m.Layers), len(config.RootFS.DiffIDs), maxLayers)
	}
	blobs := make([]layers.Blob, len(m.Layers))
	for i, desc := range m.Layers {
		if !tarMediaType(desc.MediaType) {
			return nil, fmt.Errorf("%w: layer %s of media type %q", layers.ErrUnsupported, desc.Digest, desc.MediaType)
		}
		if desc.Size < 0 {
			return nil, fmt.Errorf("%w: layer %s of %d bytes", layers.ErrInvalid, desc.Digest, desc.Size)
		}
		blobs[i] = layers.Blob{Digest: desc.Digest, Size: desc.Size, DiffID: config.RootFS.DiffIDs[i]}
	}
	return blobs, nil
}

// tarMediaType reports whether a media type means a tar, compressed or not. How
// it is compressed is told from the blob: tools have mixed the types up.
func tarMediaType(mediaType string) bool {
	switch mediaType {
	case ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd,
		"application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
		"application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.diff.tar.zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":
		return true
	}
	return false
}
