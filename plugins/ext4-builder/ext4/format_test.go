package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/plugins/ext4-builder/sparse"

	"github.com/vzctl/vzctl/plugins/ext4-builder/image/imagetest"
)

func TestEmptyFileSystemWithDirectories(t *testing.T) {
	f := imageFile(t)
	if err := Format(context.Background(), f, 64<<20, testOptions, EmptyDir{"upper", 0o755}, EmptyDir{"work", 0o700}); err != nil {
		t.Fatal(err)
	}
	imagetest.Fsck(t, f.Name())
	out := debugfs(t, f.Name(), "ls -p /")
	for _, line := range []string{"/2/040755/0/0/./", "/2/040755/0/0/../", "/11/040755/0/0/upper/", "/12/040700/0/0/work/"} {
		if !strings.Contains(out, line) {
			t.Errorf("its root is %s; want %s", out, line)
		}
	}
	if strings.Count(out, "//\n") != 4 {
		t.Errorf("its root is %s", out)
	}
	if out := debugfs(t, f.Name(), "ls -p /upper"); !strings.Contains(out, "/11/040755/0/0/./") || !strings.Contains(out, "/2/040755/0/0/../") {
		t.Errorf("upper is %s", out)
	}
}

func TestEmptyFileSystemOfAnySize(t *testing.T) {
	for _, size := range []int64{MinFormat, 100 << 20, 128<<20 + 4096, 1 << 30, 10 << 30, 64<<30 + 4096, 1 << 40} {
		t.Run(fmt.Sprintf("%d MiB", size>>20), func(t *testing.T) {
			f := imageFile(t)
			if err := Format(context.Background(), f, size, testOptions); err != nil {
				t.Fatal(err)
			}
			if size <= 128<<30 { // e2fsck needs minutes for more
				imagetest.Fsck(t, f.Name())
			}
			info, err := f.Stat()
			if err != nil || info.Size() != size {
				t.Fatalf("file of %d bytes, %v", info.Size(), err)
			}
			// 64 bytes for each 128 MiB, and a few dozen KiB.
			if used, most := sparse.Allocated(info), 512<<10+size>>17; used > most {
				t.Errorf("occupies %d bytes of disk, at most %d", used, most)
			}
			if out := debugfs(t, f.Name(), "ls -p /"); strings.Count(out, "\n") > 4 {
				t.Errorf("root directory is not empty: %s", out)
			}
		})
	}
}

func TestFormatIsDeterministicAndTakesAnUUID(t *testing.T) {
	images := make([]memory, 3)
	other := testOptions
	other.UUID[15] = 77
	for i, opts := range []Options{testOptions, testOptions, other} {
		if err := Format(context.Background(), &images[i], MinFormat, opts); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(images[0].b, images[1].b) {
		t.Error("equal options, different file systems")
	}
	fs, err := NewReader(bytes.NewReader(images[2].b), MinFormat)
	if err != nil || fs.UUID() != other.UUID {
		t.Errorf("UUID %x, %v", fs.UUID(), err)
	}
}

func TestFormatRefusesSizesItCannotMake(t *testing.T) {
	for _, size := range []int64{-1, 0, MinFormat - 1, MaxFormat + 1} {
		if err := Format(context.Background(), &memory{}, size, testOptions); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
