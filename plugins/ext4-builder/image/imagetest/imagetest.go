// Package imagetest writes OCI layouts for tests.
package imagetest

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Form is a way to store a layer.
type Form struct {
	Name      string
	MediaType string
	Compress  func(io.Writer) (io.WriteCloser, error)
}

// Forms are all the ways a layer may be stored.
var Forms = []Form{
	{"tar", ocispec.MediaTypeImageLayer, func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil }},
	{"gzip", ocispec.MediaTypeImageLayerGzip, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }},
	{"zstd", ocispec.MediaTypeImageLayerZstd, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }},
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// Stored returns content in the form.
func (f Form) Stored(tb testing.TB, content []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := f.Compress(&out)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// WriteLayout makes a layout in dir that holds one image of the given layers
// (tar files, bottom first) and returns the digest of its manifest.
func WriteLayout(tb testing.TB, dir string, form Form, tars ...[]byte) digest.Digest {
	tb.Helper()
	config := ocispec.Image{Platform: ocispec.Platform{Architecture: "amd64", OS: "linux"}}
	config.RootFS.Type = "layers"
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, content := range tars {
		stored := form.Stored(tb, content)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(content))
		manifest.Layers = append(manifest.Layers, WriteBlob(tb, dir, form.MediaType, stored))
	}
	manifest.Config = WriteBlob(tb, dir, ocispec.MediaTypeImageConfig, encode(tb, config))
	desc := WriteBlob(tb, dir, ocispec.MediaTypeImageManifest, encode(tb, manifest))
	writeFile(tb, filepath.Join(dir, ocispec.ImageLayoutFile), encode(tb, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}))
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{desc}}
	writeFile(tb, filepath.Join(dir, ocispec.ImageIndexFile), encode(tb, index))
	return desc.Digest
}

// WriteBlob adds a blob to the layout in dir.
func WriteBlob(tb testing.TB, dir, mediaType string, content []byte) ocispec.Descriptor {
	tb.Helper()
	d := digest.FromBytes(content)
	writeFile(tb, filepath.Join(dir, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded()), content)
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

func encode(tb testing.TB, v any) []byte {
	tb.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func writeFile(tb testing.TB, path string, content []byte) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatal(err)
	}
}
