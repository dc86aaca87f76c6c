package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/plugins/ext4-builder/image/imagetest"
)

// TestReaderOpensImagesOfMke2fs reads what another program wrote, in forms that
// this package does not write itself.
func TestReaderOpensImagesOfMke2fs(t *testing.T) {
	source := t.TempDir()
	for i := range 600 {
		if err := os.WriteFile(filepath.Join(source, fmt.Sprintf("file number %d", i)), []byte(strings.Repeat("x", i*17)), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(strings.Repeat("t", 200), filepath.Join(source, "link")); err != nil {
		t.Fatal(err)
	}
	for _, options := range [][]string{
		{"-b", "1024"}, {"-b", "2048", "-I", "128"}, {"-b", "4096"}, {"-b", "4096", "-O", "^metadata_csum"},
		{"-b", "4096", "-O", "^64bit"}, {"-b", "1024", "-O", "metadata_csum_seed"}, {"-b", "4096", "-I", "1024"}, {"-O", "^has_journal"},
	} {
		t.Run(strings.Join(options, " "), func(t *testing.T) {
			f := imageFile(t)
			args := append([]string{"-q", "-F", "-t", "ext4", "-d", source}, options...)
			if out, err := exec.Command(imagetest.E2fsprogs(t, "mke2fs"), append(args, f.Name(), "64M")...).CombinedOutput(); err != nil {
				t.Fatalf("mke2fs: %v\n%s", err, out)
			}
			fs := openFile(t, f)
			files := 0
			err := fs.Walk(func(path string, in *Inode) error {
				var i int
				if _, err := fmt.Sscanf(path, "/file number %d", &i); err == nil {
					files++
					if got := content(t, fs, path); got != strings.Repeat("x", i*17) || in.Mode != ModeRegular|0o640 {
						t.Errorf("%s: mode %o, %d bytes", path, in.Mode, len(got))
					}
				}
				return nil
			})
			if err != nil || files != 600 {
				t.Errorf("%d files, %v", files, err)
			}
			if got, err := fs.Readlink(lookup(t, fs, "link")); err != nil || got != strings.Repeat("t", 200) {
				t.Errorf("symlink %q, %v", got, err)
			}
		})
	}
}

func TestUnknownFeaturesAreRefused(t *testing.T) {
	f := imageFile(t)
	if out, err := exec.Command(imagetest.E2fsprogs(t, "mke2fs"), "-q", "-F", "-t", "ext4", "-O", "meta_bg,^resize_inode", f.Name(), "64M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	if _, err := NewReader(f, 64<<20); !errors.Is(err, ErrUnsupported) {
		t.Errorf("error %v, want ErrUnsupported", err)
	}
	var ext3 = imageFile(t)
	if out, err := exec.Command(imagetest.E2fsprogs(t, "mke2fs"), "-q", "-F", "-t", "ext3", ext3.Name(), "16M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	if err := openFile(t, ext3).Walk(func(string, *Inode) error { return nil }); !errors.Is(err, ErrUnsupported) {
		t.Errorf("ext3: error %v, want ErrUnsupported", err)
	}
}

func TestWhatIsNoImageIsRefused(t *testing.T) {
	var image memory
	build(t, &image, everything)
	for name, b := range map[string][]byte{
		"nothing": nil, "zeros": make([]byte, 10_000), "text": bytes.Repeat([]byte("text"), 10_000), "half an image": image.b[:len(image.b)/2],
	} {
		if _, err := NewReader(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

// readEverything uses all there is of a Reader.
func readEverything(fs *Reader) error {
	return fs.Walk(func(path string, in *Inode) error {
		if _, err := fs.Xattrs(in); err != nil {
			return err
		}
		switch in.Type() {
		case ModeSymlink:
			_, err := fs.Readlink(in)
			return err
		case ModeRegular:
			f, err := fs.Open(in)
			if err != nil {
				return err
			}
			// Sizes of a hostile image are up to its author: look at both ends.
			for _, at := range []int64{0, f.Size() - 5000} {
				if _, err := f.ReadAt(make([]byte, 10_000), max(0, at)); err != nil && err != io.EOF {
					return err
				}
			}
		}
		return nil
	})
}

func TestDamageIsNoticed(t *testing.T) {
	var image memory
	build(t, &image, everything)
	for _, c := range []struct {
		name string
		at   int // what to damage, found by the reader
	}{
		{"superblock", superblockOffset + 0x78},
		{"group descriptor", blockSize + 0x08},
		{"inode", inodeAt(t, image.b, rootIno) + 0x08},
		{"directory", dirBlockAt(t, image.b) + 40},
	} {
		damaged := bytes.Clone(image.b)
		damaged[c.at] ^= 1
		fs, err := NewReader(bytes.NewReader(damaged), int64(len(damaged)))
		if err == nil {
			err = readEverything(fs)
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", c.name, err)
		}
	}
}

func inodeAt(t testing.TB, image []byte, ino uint32) int {
	t.Helper()
	fs, err := NewReader(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	table, err := fs.inodeTable(0)
	if err != nil {
		t.Fatal(err)
	}
	return int(table)*blockSize + int(ino-1)*inodeSize
}

func dirBlockAt(t testing.TB, image []byte) int {
	t.Helper()
	area := image[inodeAt(t, image, rootIno)+0x28:]
	return int(binary.LittleEndian.Uint32(area[extentEntrySize+8:])) * blockSize
}
