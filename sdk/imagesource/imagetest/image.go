// Package imagetest makes small images for tests of image sources and of what uses images: in memory, as an OCI layout, as a tar of one, or behind
// the HTTP of a registry that can be told to lie.
package imagetest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/platform"
)

// Image is an index or a manifest with all it names.
type Image struct {
	Root  ocispec.Descriptor
	Blobs map[digest.Digest][]byte
	// Manifests is the root, or what the root lists.
	Manifests []ocispec.Descriptor
	// Layers of all manifests, in order.
	Layers []ocispec.Descriptor
}

// Single makes an image of layers with the given bytes for one platform, without an index. The layers need not be archives.
func Single(t testing.TB, on string, layers ...[]byte) Image {
	t.Helper()
	p, err := platform.Parse(on)
	if err != nil {
		t.Fatal(err)
	}
	image := Image{Blobs: map[digest.Digest][]byte{}}
	config := ocispec.Image{Platform: p, Config: ocispec.ImageConfig{Cmd: []string{"/bin/true"}}}
	config.RootFS.Type = "layers"
	for _, raw := range layers {
		d := image.add(ocispec.MediaTypeImageLayer, raw)
		image.Layers = append(image.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d.Digest)
	}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: image.addJSON(t, ocispec.MediaTypeImageConfig, config), Layers: image.Layers,
	}
	image.Root = image.addJSON(t, ocispec.MediaTypeImageManifest, manifest)
	listed := image.Root
	listed.Platform = &p
	image.Manifests = []ocispec.Descriptor{listed}
	return image
}

// Index makes an index of single images.
func Index(t testing.TB, images ...Image) Image {
	t.Helper()
	all := Image{Blobs: map[digest.Digest][]byte{}}
	for _, image := range images {
		maps.Copy(all.Blobs, image.Blobs)
		all.Manifests = append(all.Manifests, image.Manifests...)
		all.Layers = append(all.Layers, image.Layers...)
	}
	all.Root = all.addJSON(t, ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: all.Manifests,
	})
	return all
}

// WithRoot returns the image with another root document.
func (i Image) WithRoot(mediaType string, raw []byte) Image {
	i.Blobs = maps.Clone(i.Blobs)
	i.Root = i.add(mediaType, raw)
	return i
}

func (i *Image) add(mediaType string, raw []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	i.Blobs[d.Digest] = raw
	return d
}

func (i *Image) addJSON(t testing.TB, mediaType string, v any) ocispec.Descriptor {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return i.add(mediaType, raw)
}

// files of the image's layout. Annotations are those of the root's entry in index.json, once per map.
func (i Image) files(t testing.TB, annotations []map[string]string) map[string][]byte {
	t.Helper()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, a := range annotations {
		entry := i.Root
		entry.Annotations = a
		index.Manifests = append(index.Manifests, entry)
	}
	raw, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		ocispec.ImageLayoutFile: []byte(`{"imageLayoutVersion":"1.0.0"}`),
		ocispec.ImageIndexFile:  raw,
	}
	for d, raw := range i.Blobs {
		files["blobs/"+d.Algorithm().String()+"/"+d.Encoded()] = raw
	}
	return files
}

// Tagged is the usual annotation of an entry in index.json.
func Tagged(tag string) map[string]string {
	return map[string]string{ocispec.AnnotationRefName: tag}
}

// WriteLayout writes the image as an OCI layout directory.
func (i Image) WriteLayout(t testing.TB, dir string, annotations ...map[string]string) {
	t.Helper()
	for name, raw := range i.files(t, annotations) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// WriteTar writes the image's OCI layout as a tar, with names as "tar -C dir -c ." gives them.
func (i Image) WriteTar(t testing.TB, path string, annotations ...map[string]string) {
	t.Helper()
	files := i.files(t, annotations)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: 0o644, Size: int64(len(files[name]))}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Files lists what is in a layout directory, sorted, so that a test can say that nothing was left behind. Directories are not listed.
func Files(t testing.TB, dir string) []string {
	t.Helper()
	names := []string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		names = append(names, strings.TrimPrefix(path, dir+"/"))
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// BlobNames lists the names that Files gives for blobs.
func BlobNames(of ...ocispec.Descriptor) []string {
	names := []string{}
	for _, d := range of {
		names = append(names, "blobs/"+d.Digest.Algorithm().String()+"/"+d.Digest.Encoded())
	}
	slices.Sort(names)
	return slices.Compact(names)
}
