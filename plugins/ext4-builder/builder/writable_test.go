package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
	"github.com/vzctl/vzctl/plugins/ext4-builder/image/imagetest"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

func writable(t *testing.T, purpose string, size int64) rootfs.Disk {
	t.Helper()
	disk, err := Builder{}.CreateWritable(context.Background(), rootfs.WritableRequest{
		Path: filepath.Join(t.TempDir(), "disk"), SizeBytes: size, Purpose: purpose,
	})
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

func TestWritableDisksAreSparseAndSound(t *testing.T) {
	for _, size := range []int64{ext4.MinFormat, 10 << 30, 1 << 40} {
		for _, purpose := range []string{rootfs.Layer, rootfs.Volume} {
			disk := writable(t, purpose, size)
			if disk.SizeBytes != size || disk.AllocatedBytes > 8<<20 || disk.ReadOnly || disk.Digest != "" {
				t.Errorf("%+v", disk)
			}
			if size <= 10<<30 {
				imagetest.Fsck(t, disk.Path)
			}
			if info, err := os.Stat(disk.Path); err != nil || info.Mode() != 0o600 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
		}
	}
}

func TestWritableDisksThatCannotBe(t *testing.T) {
	there := writable(t, rootfs.Layer, 1<<30).Path
	fresh := filepath.Join(t.TempDir(), "disk")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(fresh, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		request rootfs.WritableRequest
		reason  fault.Reason
	}{
		{"where something is", rootfs.WritableRequest{Path: there, SizeBytes: 1 << 30, Purpose: rootfs.Layer}, fault.AlreadyExists},
		{"through a link", rootfs.WritableRequest{Path: link, SizeBytes: 1 << 30, Purpose: rootfs.Layer}, fault.AlreadyExists},
		{"where no directory is", rootfs.WritableRequest{Path: "/nowhere/disk", SizeBytes: 1 << 30, Purpose: rootfs.Layer}, fault.NotFound},
		{"too small", rootfs.WritableRequest{Path: fresh, SizeBytes: 1 << 20, Purpose: rootfs.Layer}, fault.Invalid},
		{"too large", rootfs.WritableRequest{Path: fresh, SizeBytes: 1 << 60, Purpose: rootfs.Layer}, fault.Invalid},
		{"of no purpose", rootfs.WritableRequest{Path: fresh, SizeBytes: 1 << 30}, fault.Invalid},
		{"with an option", rootfs.WritableRequest{Path: fresh, SizeBytes: 1 << 30, Purpose: rootfs.Volume, Options: map[string]string{"a": "b"}}, fault.Unsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := (Builder{}).CreateWritable(context.Background(), c.request); !errors.Is(err, c.reason) {
				t.Errorf("%v; want %v", err, c.reason)
			}
			if _, err := os.Stat(fresh); !errors.Is(err, os.ErrNotExist) {
				t.Error("a disk is left")
			}
		})
	}
}

// entries reads a tar's names.
func entries(t *testing.T, r io.Reader) (names []string) {
	t.Helper()
	for reader := tar.NewReader(r); ; {
		h, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// exportable is an image with a layer into which a guest wrote the file "new".
func exportable(t *testing.T, write bool) []rootfs.Disk {
	t.Helper()
	layout, manifest := smallImage(t)
	built, err := Builder{}.Build(context.Background(), rootfs.BuildRequest{LayoutPath: layout, Manifest: manifest, CacheDir: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	layer := writable(t, rootfs.Layer, 64<<20)
	if write {
		cmd := exec.Command(imagetest.E2fsprogs(t, "debugfs"), "-w", "-f", "-", layer.Path)
		cmd.Stdin = strings.NewReader("write /dev/null upper/new\nmkdir work/work\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("debugfs: %v\n%s", err, out)
		}
	}
	return append(built.Disks, layer)
}

func TestExport(t *testing.T) {
	for _, c := range []struct {
		name  string
		write bool
		want  string
	}{
		{"a layer is merged by its upper directory", true, "./ ./etc/ ./etc/hosts ./etc/motd ./new"},
		{"a layer never used adds nothing", false, "./ ./etc/ ./etc/hosts ./etc/motd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out.tar")
			size, err := Builder{}.Export(context.Background(), rootfs.ExportRequest{Disks: exportable(t, c.write), OutputPath: path}, nil)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(path)
			if err != nil || int64(len(raw)) != size {
				t.Fatalf("%d bytes, %v; want %d", len(raw), err, size)
			}
			if got := strings.Join(entries(t, bytes.NewReader(raw)), " "); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestExportOfWhatIsNoImages has a file in the layer of which overlayfs has the metadata alone: the rest is an empty file that vminitd keeps below all images.
func TestExportOfWhatIsNoImages(t *testing.T) {
	disks := exportable(t, true)
	cmd := exec.Command(imagetest.E2fsprogs(t, "debugfs"), "-w", "-f", "-", disks[len(disks)-1].Path)
	cmd.Stdin = strings.NewReader("mkdir upper/etc\nwrite /dev/null upper/etc/resolv.conf\nea_set upper/etc/resolv.conf trusted.overlay.metacopy x\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
	path := filepath.Join(t.TempDir(), "out.tar")
	if _, err := (Builder{}).Export(context.Background(), rootfs.ExportRequest{Disks: disks, OutputPath: path}, nil); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := entries(t, bytes.NewReader(raw)); !slices.Contains(got, "./etc/resolv.conf") {
		t.Errorf("it has %q", got)
	}
}

func TestExportIntoAFIFO(t *testing.T) {
	disks := exportable(t, false)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan []string, 1)
	go func() {
		f, err := os.Open(fifo)
		if err != nil {
			read <- nil
			return
		}
		defer f.Close()
		read <- entries(t, f)
	}()
	if _, err := (Builder{}).Export(context.Background(), rootfs.ExportRequest{Disks: disks, OutputPath: fifo}, nil); err != nil {
		t.Fatal(err)
	}
	if got := <-read; len(got) != 4 {
		t.Errorf("%q", got)
	}
}

func TestExportEndsWithItsCaller(t *testing.T) {
	disks := exportable(t, false)
	for name, reader := range map[string]bool{"while nobody reads": false, "while the reader takes nothing": true} {
		t.Run(name, func(t *testing.T) {
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := unix.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			if reader {
				f, err := os.OpenFile(fifo, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
			}
			done := make(chan error, 1)
			go func() {
				_, err := Builder{}.Export(ctx, rootfs.ExportRequest{Disks: disks, OutputPath: fifo}, nil)
				done <- err
			}()
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
	}
}

// The caller may be gone at any moment: before the FIFO is opened, while it is, and after.
func TestNobodyWaitsForAReaderWhoseCallerIsGone(t *testing.T) {
	dir := t.TempDir()
	for i := range 5000 {
		fifo := filepath.Join(dir, strconv.Itoa(i)) // one for each: the last one's may still be read for a moment
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			f, err := openFIFO(ctx, fifo)
			if err == nil {
				err = f.Close()
			}
			done <- err
		}()
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("%v", err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it waits all the same")
		}
	}
}

func TestExportRefuses(t *testing.T) {
	disks := exportable(t, false)
	there := disks[0].Path
	fresh := filepath.Join(t.TempDir(), "out")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		request rootfs.ExportRequest
		reason  fault.Reason
	}{
		{"an output that is there", rootfs.ExportRequest{Disks: disks, OutputPath: there}, fault.AlreadyExists},
		{"no disks", rootfs.ExportRequest{OutputPath: fresh}, fault.Invalid},
		{"only a layer never used", rootfs.ExportRequest{Disks: disks[1:], OutputPath: fresh}, fault.Invalid},
		{"a disk that is not there", rootfs.ExportRequest{Disks: []rootfs.Disk{{Path: "/nowhere", FileSystem: "ext4"}}, OutputPath: fresh}, fault.NotFound},
		{"a disk that is none", rootfs.ExportRequest{Disks: []rootfs.Disk{{Path: text, FileSystem: "ext4"}}, OutputPath: fresh}, fault.Invalid},
		{"another file system", rootfs.ExportRequest{Disks: []rootfs.Disk{{Path: there, FileSystem: "erofs"}}, OutputPath: fresh}, fault.Unsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := (Builder{}).Export(context.Background(), c.request, nil); !errors.Is(err, c.reason) {
				t.Errorf("%v; want %v", err, c.reason)
			}
			if _, err := os.Stat(fresh); !errors.Is(err, os.ErrNotExist) {
				t.Error("a file is left")
			}
		})
	}
}

func BenchmarkCreateWritable(b *testing.B) {
	dir := b.TempDir()
	path := filepath.Join(dir, "layer")
	for b.Loop() {
		if _, err := (Builder{}).CreateWritable(context.Background(), rootfs.WritableRequest{Path: path, SizeBytes: 10 << 30, Purpose: rootfs.Layer}); err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			b.Fatal(err)
		}
	}
}
