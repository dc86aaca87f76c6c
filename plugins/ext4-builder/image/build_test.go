package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
	"github.com/vzctl/vzctl/plugins/ext4-builder/image/imagetest"
	"github.com/vzctl/vzctl/plugins/ext4-builder/layers"
	"github.com/vzctl/vzctl/plugins/ext4-builder/sparse"
)

// entry is a tar entry and its content.
type entry struct {
	tar.Header
	body string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	for _, e := range entries {
		e.Size = int64(len(e.body))
		if err := tw.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func file(name, body string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: time.Unix(1e9, 0)}, body}
}

func twoLayers(t testing.TB) [][]byte {
	t.Helper()
	return [][]byte{
		archive(t, file("etc/hostname", "lower\n"), file("etc/motd", "hello\n"), file("gone", strings.Repeat("gone ", 100_000)),
			entry{tar.Header{Typeflag: tar.TypeLink, Name: "motd", Linkname: "etc/motd"}, ""}),
		archive(t, file("etc/hostname", "upper\n"), file(".wh.gone", ""), file("etc/.wh.motd", ""),
			entry{tar.Header{Typeflag: tar.TypeSymlink, Name: "bin", Linkname: "usr/bin"}, ""}),
	}
}

// create makes an empty file for an image.
func create(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "rootfs.img"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// build makes the image of a manifest in a new file.
func build(t testing.TB, dir string, manifest digest.Digest) (string, error) {
	t.Helper()
	f := create(t)
	_, err := Build(context.Background(), Layout{dir}, manifest, sparse.NewFile(f), nil)
	return f.Name(), err
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestImageOfEachForm(t *testing.T) {
	for _, form := range imagetest.Forms {
		t.Run(form.Name, func(t *testing.T) {
			dir := t.TempDir()
			manifest := imagetest.WriteLayout(t, dir, form, twoLayers(t)...)
			path, err := build(t, dir, manifest)
			if err != nil {
				t.Fatal(err)
			}
			imagetest.Fsck(t, path)
			raw := read(t, path)
			fs, err := ext4.NewReader(bytes.NewReader(raw), int64(len(raw)))
			if err != nil {
				t.Fatal(err)
			}
			var paths []string
			err = fs.Walk(func(path string, in *ext4.Inode) error {
				if in.Type() == ext4.ModeRegular {
					f, err := fs.Open(in)
					if err != nil {
						return err
					}
					b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
					if err != nil {
						return err
					}
					path += "=" + strings.TrimSpace(string(b))
				}
				paths = append(paths, path)
				return nil
			})
			if got, want := strings.Join(paths, " "), "/ /bin /etc /etc/hostname=upper /motd=hello"; err != nil || got != want {
				t.Errorf("image holds %q, want %q; %v", got, want, err)
			}
			if fs.UUID() != Options(manifest).UUID {
				t.Errorf("UUID %x", fs.UUID())
			}
			if bytes.Contains(raw, []byte("gone gone")) {
				t.Error("the image still holds a file that a layer removed")
			}
		})
	}
}

func TestSameManifestGivesSameBytes(t *testing.T) {
	dir := t.TempDir()
	manifest := imagetest.WriteLayout(t, dir, imagetest.Forms[1], twoLayers(t)...)
	a, err := build(t, dir, manifest)
	if err != nil {
		t.Fatal(err)
	}
	b, err := build(t, dir, manifest)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, a), read(t, b)) {
		t.Error("two images of one manifest differ")
	}
	if Options(manifest) == Options(digest.FromString("another")) {
		t.Error("two manifests have one identity")
	}
}

func TestImageOfNoLayersIsAnEmptyRoot(t *testing.T) {
	dir := t.TempDir()
	if _, err := build(t, dir, imagetest.WriteLayout(t, dir, imagetest.Forms[0])); err != nil {
		t.Error(err)
	}
}

func TestBrokenLayouts(t *testing.T) {
	gzip := imagetest.Forms[1]
	blobPath := func(dir string, d digest.Digest) string { return filepath.Join(dir, "blobs", "sha256", d.Encoded()) }
	rewrite := func(t *testing.T, dir string, d digest.Digest, change func(*ocispec.Manifest)) digest.Digest {
		var m ocispec.Manifest
		if err := json.Unmarshal(read(t, blobPath(dir, d)), &m); err != nil {
			t.Fatal(err)
		}
		change(&m)
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return imagetest.WriteBlob(t, dir, ocispec.MediaTypeImageManifest, raw).Digest
	}
	layer := func(t *testing.T, dir string, d digest.Digest) (path string) {
		rewrite(t, dir, d, func(m *ocispec.Manifest) { path = blobPath(dir, m.Layers[0].Digest) })
		return path
	}
	overwrite := func(t *testing.T, path string, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var mismatch *layers.DigestError
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string, d digest.Digest) digest.Digest
		want   func(error) bool
	}{
		{"no such manifest", func(*testing.T, string, digest.Digest) digest.Digest { return digest.FromString("none") },
			func(err error) bool { return errors.Is(err, ErrNotFound) }},
		{"a manifest digest that is a path", func(*testing.T, string, digest.Digest) digest.Digest { return "../../etc/passwd" },
			func(err error) bool { return errors.Is(err, layers.ErrInvalid) }},
		{"a manifest that is not what its digest says", func(t *testing.T, dir string, d digest.Digest) digest.Digest {
			overwrite(t, blobPath(dir, d), []byte("{}"))
			return d
		}, func(err error) bool { return errors.As(err, &mismatch) }},
		{"a missing layer", func(t *testing.T, dir string, d digest.Digest) digest.Digest {
			if err := os.Remove(layer(t, dir, d)); err != nil {
				t.Fatal(err)
			}
			return d
		}, func(err error) bool { return errors.Is(err, ErrNotFound) }},
		{"a layer replaced by a web page", func(t *testing.T, dir string, d digest.Digest) digest.Digest {
			path := layer(t, dir, d)
			overwrite(t, path, append([]byte("<html>"), read(t, path)[6:]...))
			return d
		}, func(err error) bool { return errors.As(err, &mismatch) }},
		{"a truncated layer", func(t *testing.T, dir string, d digest.Digest) digest.Digest {
			path := layer(t, dir, d)
			overwrite(t, path, read(t, path)[:100])
			return d
		}, func(err error) bool { return errors.Is(err, layers.ErrInvalid) }},
		{"a layer of unknown type", func(t *testing.T, dir string, d digest.Digest) digest.Digest {
			return rewrite(t, dir, d, func(m *ocispec.Manifest) { m.Layers[0].MediaType = "application/wasm" })
		}, func(err error) bool { return errors.Is(err, layers.ErrUnsupported) }},
		{"fewer layers than diffIDs", func(t *testing.T, dir string, d digest.Digest) digest.Digest {
			return rewrite(t, dir, d, func(m *ocispec.Manifest) { m.Layers = m.Layers[:1] })
		}, func(err error) bool { return errors.Is(err, layers.ErrInvalid) }},
		{"layers in another order than diffIDs", func(t *testing.T, dir string, d digest.Digest) digest.Digest {
			return rewrite(t, dir, d, func(m *ocispec.Manifest) { m.Layers[0], m.Layers[1] = m.Layers[1], m.Layers[0] })
		}, func(err error) bool { return errors.As(err, &mismatch) }},
		{"a layer of negative size", func(t *testing.T, dir string, d digest.Digest) digest.Digest {
			return rewrite(t, dir, d, func(m *ocispec.Manifest) { m.Layers[0].Size = -5 })
		}, func(err error) bool { return errors.Is(err, layers.ErrInvalid) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			manifest := imagetest.WriteLayout(t, dir, gzip, twoLayers(t)...)
			if _, err := build(t, dir, c.damage(t, dir, manifest)); err == nil || !c.want(err) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestProgressEndsAtTheTotal(t *testing.T) {
	dir := t.TempDir()
	manifest := imagetest.WriteLayout(t, dir, imagetest.Forms[1], twoLayers(t)...)
	f := create(t)
	var done, total, last int64
	_, err := Build(context.Background(), Layout{dir}, manifest, sparse.NewFile(f), func(d, of int64) {
		if d < last {
			t.Errorf("progress went back from %d to %d", last, d)
		}
		done, total, last = d, of, d
	})
	if err != nil || done != total || total == 0 {
		t.Errorf("%d of %d, %v", done, total, err)
	}
}

func TestCancelledContextEndsABuild(t *testing.T) {
	dir := t.TempDir()
	manifest := imagetest.WriteLayout(t, dir, imagetest.Forms[1], twoLayers(t)...)
	ctx, cancel := context.WithCancel(context.Background())
	f := create(t)
	_, err := Build(ctx, Layout{dir}, manifest, sparse.NewFile(f), func(int64, int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// fullDisk is an output that has no room.
type fullDisk struct{}

func (fullDisk) WriteAt([]byte, int64) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "rootfs.img", Err: syscall.ENOSPC}
}
func (fullDisk) Truncate(int64) error { return nil }
func (fullDisk) Sync() error          { return nil }

func TestFullDiskIsReportedAsSuch(t *testing.T) {
	dir := t.TempDir()
	manifest := imagetest.WriteLayout(t, dir, imagetest.Forms[1], archive(t, file("large", strings.Repeat("large", 1<<20))))
	if _, err := Build(context.Background(), Layout{dir}, manifest, fullDisk{}, nil); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v", err)
	}
}
