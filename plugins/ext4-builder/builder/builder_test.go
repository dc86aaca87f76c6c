package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/ext4-builder/image"
	"github.com/vzctl/vzctl/plugins/ext4-builder/image/imagetest"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/progress"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

func tarOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		body := bytes.Repeat([]byte("x"), int(h.Size))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// smallImage writes a layout with one image and returns it with its manifest.
func smallImage(t *testing.T) (dir string, manifest digest.Digest) {
	t.Helper()
	dir = t.TempDir()
	manifest = imagetest.WriteLayout(t, dir, imagetest.Forms[1],
		tarOf(t, tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "etc/motd", Mode: 0o644, Size: 3 << 20}),
		tarOf(t, tar.Header{Name: "etc/hosts", Mode: 0o644, Size: 5}))
	return dir, manifest
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestASecondBuildTakesTheFirstOnesDisk(t *testing.T) {
	layout, manifest := smallImage(t)
	request := rootfs.BuildRequest{LayoutPath: layout, Manifest: manifest, CacheDir: filepath.Join(t.TempDir(), "new", "cache")}
	var updates []progress.Update
	first, err := Builder{}.Build(context.Background(), request, func(u progress.Update) { updates = append(updates, u) })
	if err != nil {
		t.Fatal(err)
	}
	disk := first.Disks[0]
	imagetest.Fsck(t, disk.Path)
	if len(first.Disks) != 1 || first.Cached || !disk.ReadOnly || disk.FileSystem != "ext4" || disk.Digest.Validate() != nil || disk.SizeBytes < 3<<20 || disk.AllocatedBytes == 0 {
		t.Errorf("%+v", first)
	}
	if last := updates[len(updates)-1]; last.Done != last.Total || last.Total == 0 || last.Unit != progress.Bytes {
		t.Errorf("progress ends with %+v", last)
	}
	before := inode(t, disk.Path)
	second, err := Builder{}.Build(context.Background(), request, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !second.Cached || second.Disks[0] != disk || inode(t, disk.Path) != before {
		t.Errorf("%+v after %+v", second, first)
	}

	entries, err := Builder{}.List(context.Background(), request.CacheDir)
	if err != nil || len(entries) != 1 || entries[0].Manifest != manifest || entries[0].Disks[0] != disk {
		t.Errorf("list: %+v, %v", entries, err)
	}
	for range 2 {
		if err := (Builder{}).Delete(context.Background(), "", request.CacheDir, manifest); err != nil {
			t.Fatal(err)
		}
	}
	if left := files(t, request.CacheDir); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

func TestAnImageThatIsNotWhatItShouldBeIsMadeAgain(t *testing.T) {
	layout, manifest := smallImage(t)
	request := rootfs.BuildRequest{LayoutPath: layout, Manifest: manifest, CacheDir: t.TempDir()}
	path := filepath.Join(request.CacheDir, key(manifest, image.Version)+suffix)
	for name, spoil := range map[string]func() error{
		"empty":       func() error { return os.WriteFile(path, nil, 0o600) },
		"of other":    func() error { _, err := format(context.Background(), path, 16<<20, "", nil); return err },
		"link":        func() error { return os.Symlink("/etc/passwd", path) },
		"not a file ": func() error { return unix.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			built, err := Builder{}.Build(context.Background(), request, nil)
			if err != nil || built.Cached {
				t.Fatalf("%+v, %v", built, err)
			}
			imagetest.Fsck(t, built.Disks[0].Path)
		})
	}
}

func TestABuildThatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	layout, manifest := smallImage(t)
	missing := t.TempDir()
	noLayer := imagetest.WriteLayout(t, missing, imagetest.Forms[0], tarOf(t, tar.Header{Name: "a", Size: 1}))
	for _, name := range files(t, filepath.Join(missing, "blobs/sha256")) {
		if name != noLayer.Encoded() {
			if err := os.Remove(filepath.Join(missing, "blobs/sha256", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	wrong := t.TempDir()
	changed := imagetest.WriteLayout(t, wrong, imagetest.Forms[0], tarOf(t, tar.Header{Name: "a", Size: 1}))
	if err := os.WriteFile(filepath.Join(wrong, "blobs/sha256", changed.Encoded()), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	escaping := t.TempDir()
	escape := imagetest.WriteLayout(t, escaping, imagetest.Forms[0], []byte(strings.Repeat("not a tar", 200)))
	foreign := t.TempDir()
	unknown := imagetest.WriteLayout(t, foreign, imagetest.Form{Name: "squashfs", MediaType: "application/x.squashfs", Compress: imagetest.Forms[0].Compress}, []byte("x"))
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()

	for _, c := range []struct {
		name     string
		ctx      context.Context
		layout   string
		manifest digest.Digest
		want     error
	}{
		{"no layout", context.Background(), filepath.Join(layout, "nope"), manifest, fault.NotFound},
		{"no such manifest", context.Background(), layout, digest.FromString("x"), fault.NotFound},
		{"a missing blob", context.Background(), missing, noLayer, fault.NotFound},
		{"a changed blob", context.Background(), wrong, changed, fault.DigestMismatch},
		{"a layer that is no tar", context.Background(), escaping, escape, fault.Invalid},
		{"a layer of another kind", context.Background(), foreign, unknown, fault.Unsupported},
		{"a digest that is a path", context.Background(), layout, "../../x", fault.Invalid},
		{"cancelled", cancelled, layout, manifest, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache := t.TempDir()
			_, err := Builder{}.Build(c.ctx, rootfs.BuildRequest{LayoutPath: c.layout, Manifest: c.manifest, CacheDir: cache}, nil)
			if !errors.Is(err, c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v; want %v", err, c.want)
			}
			if left := files(t, cache); len(left) > 0 {
				t.Errorf("%q are left", left)
			}
		})
	}
}

func TestCancellingABuildOnItsWayLeavesNothing(t *testing.T) {
	layout, manifest := smallImage(t)
	cache := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Builder{}.Build(ctx, rootfs.BuildRequest{LayoutPath: layout, Manifest: manifest, CacheDir: cache}, func(progress.Update) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left := files(t, cache); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

// TestMain lets the test binary build one image, as another process would.
func TestMain(m *testing.M) {
	if dir := os.Getenv("VZCTL_TEST_BUILD"); dir != "" {
		built, err := Builder{}.Build(context.Background(), rootfs.BuildRequest{
			LayoutPath: filepath.Join(dir, "layout"), Manifest: digest.Digest(os.Getenv("VZCTL_TEST_MANIFEST")), CacheDir: filepath.Join(dir, "cache"),
		}, nil)
		if err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		if !built.Cached {
			os.Stdout.WriteString("made")
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestOfManyProcessesAtOnceOneMakesTheImage(t *testing.T) {
	dir := t.TempDir()
	manifest := imagetest.WriteLayout(t, filepath.Join(dir, "layout"), imagetest.Forms[1], tarOf(t, tar.Header{Name: "big", Mode: 0o644, Size: 8 << 20}))
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	outputs := make([][]byte, 4)
	errs := make([]error, len(outputs))
	var group sync.WaitGroup
	for i := range outputs {
		group.Go(func() {
			cmd := exec.Command(executable)
			cmd.Env = append(os.Environ(), "VZCTL_TEST_BUILD="+dir, "VZCTL_TEST_MANIFEST="+manifest.String())
			outputs[i], errs[i] = cmd.Output()
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if made := string(bytes.Join(outputs, nil)); made != "made" {
		t.Errorf("%q", made)
	}
	if left := files(t, filepath.Join(dir, "cache")); len(left) != 1 {
		t.Errorf("%q", left)
	}
}

func TestAFullDiskIsSaidAndLeavesNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	layout, manifest := smallImage(t)
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting a small file system is not allowed here: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	_, err := Builder{}.Build(context.Background(), rootfs.BuildRequest{LayoutPath: layout, Manifest: manifest, CacheDir: small}, nil)
	if !errors.Is(err, fault.NoSpace) || !strings.Contains(err.Error(), small) {
		t.Errorf("build: %v", err)
	}
	if err := os.WriteFile(filepath.Join(small, "filler"), make([]byte, 1<<20), 0o600); err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	_, err = Builder{}.CreateWritable(context.Background(), rootfs.WritableRequest{Path: filepath.Join(small, "layer"), SizeBytes: 1 << 30, Purpose: rootfs.Layer})
	if !errors.Is(err, fault.NoSpace) {
		t.Errorf("create: %v", err)
	}
	if left := files(t, small); len(left) != 1 {
		t.Errorf("%q are left", left)
	}
}
