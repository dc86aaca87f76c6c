package conformance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	firstGreeting  = "good morning\n"
	secondGreeting = "good evening\n"
)

// writeImage puts an image of two layers into a layout, the second over the first: a file changed, one removed. It returns the manifest's digest.
func writeImage(layout string) (digest.Digest, error) {
	first, err := archive(
		entry{"etc/", ""}, entry{"etc/greeting", firstGreeting}, entry{"etc/removed", "x"}, entry{"bin/", ""}, entry{"bin/true", "#!/bin/sh\n"},
	)
	if err != nil {
		return "", err
	}
	second, err := archive(entry{"etc/", ""}, entry{"etc/greeting", secondGreeting}, entry{"etc/.wh.removed", ""})
	if err != nil {
		return "", err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(second); err != nil {
		return "", err
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	w := &layoutWriter{dir: layout}
	config := w.json(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(first), digest.FromBytes(second)}},
	})
	manifest := w.json(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config,
		Layers: []ocispec.Descriptor{w.blob(ocispec.MediaTypeImageLayer, first), w.blob(ocispec.MediaTypeImageLayerGzip, packed.Bytes())},
	})
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{manifest}})
	w.err = errors.Join(w.err, err,
		os.WriteFile(filepath.Join(layout, "index.json"), index, 0o600),
		os.WriteFile(filepath.Join(layout, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600))
	return manifest.Digest, w.err
}

type entry struct{ name, text string }

func archive(entries ...entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o755, Size: int64(len(e.text)), ModTime: time.Unix(1_700_000_000, 0), Typeflag: tar.TypeReg}
		if e.name[len(e.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(e.text)); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

type layoutWriter struct {
	dir string
	err error
}

func (w *layoutWriter) blob(mediaType string, content []byte) ocispec.Descriptor {
	d := digest.FromBytes(content)
	dir := filepath.Join(w.dir, "blobs", "sha256")
	w.err = errors.Join(w.err, os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, d.Encoded()), content, 0o600))
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

func (w *layoutWriter) json(mediaType string, value any) ocispec.Descriptor {
	text, err := json.Marshal(value)
	w.err = errors.Join(w.err, err)
	return w.blob(mediaType, text)
}

// corruptLayer changes one byte of the first layer's content, not of the tar's structure.
func corruptLayer(layout string, manifest digest.Digest) error {
	dir := filepath.Join(layout, "blobs", "sha256")
	text, err := os.ReadFile(filepath.Join(dir, manifest.Encoded()))
	if err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return err
	}
	path := filepath.Join(dir, m.Layers[0].Digest.Encoded())
	layer, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, bytes.Replace(layer, []byte("good morning"), []byte("good mourning")[:12], 1), 0o600)
}
