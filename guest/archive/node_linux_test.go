package archive

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Whoever may write to the directory can put something else in the place of a link, a device or a FIFO that was just made.
func TestWhatIsPutInThePlaceOfANodeGetsNoRights(t *testing.T) {
	long, owner, root := time.Unix(1000, 0), Owner{os.Getuid(), os.Getgid()}, os.Getuid() == 0
	if root {
		owner = Owner{77, 78}
	}
	header := func(kind byte) *tar.Header {
		return &tar.Header{Typeflag: kind, Mode: 0o777, ModTime: long, Devmajor: 1, Devminor: 3}
	}
	for name, test := range map[string]struct {
		header *tar.Header
		put    func(path string) error
		right  bool
		byRoot bool // only root can
	}{
		"a link":                   {header(tar.TypeSymlink), func(path string) error { return os.Symlink("/nowhere", path) }, true, false},
		"a FIFO":                   {header(tar.TypeFifo), func(path string) error { return unix.Mkfifo(path, 0o600) }, true, false},
		"a device":                 {header(tar.TypeChar), func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) }, true, true},
		"a file for a FIFO":        {header(tar.TypeFifo), func(path string) error { return os.WriteFile(path, nil, 0o600) }, false, false},
		"a link for a FIFO":        {header(tar.TypeFifo), func(path string) error { return os.Symlink("/etc/passwd", path) }, false, false},
		"another device":           {header(tar.TypeChar), func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) }, false, true},
		"a FIFO of somebody else":  {header(tar.TypeFifo), func(path string) error { return errors.Join(unix.Mkfifo(path, 0o600), os.Chown(path, 5, 5)) }, false, true},
		"a FIFO with another name": {header(tar.TypeFifo), func(path string) error { return errors.Join(unix.Mkfifo(path, 0o600), os.Link(path, path+"2")) }, false, false},
		"a directory for a link":   {header(tar.TypeSymlink), func(path string) error { return os.Mkdir(path, 0o700) }, false, false},
	} {
		if test.byRoot && !root {
			continue
		}
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "node")
			if err := test.put(path); err != nil {
				t.Fatal(err)
			}
			var before, after unix.Stat_t
			dir, err := os.OpenRoot(filepath.Dir(path))
			if err := errors.Join(err, unix.Lstat(path, &before)); err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			err = settleNode(dir, "node", test.header, &owner, 0o777, os.Geteuid())
			if err := unix.Lstat(path, &after); err != nil {
				t.Fatal(err)
			}
			if !test.right {
				if !errors.Is(err, errReplaced) || after.Mode != before.Mode || after.Uid != before.Uid || after.Mtim != before.Mtim {
					t.Errorf("%v; it is %+v now", err, after)
				}
				return
			}
			if err != nil || int(after.Uid) != owner.UID || int(after.Gid) != owner.GID || after.Mode&0o777 != 0o777 || after.Mtim.Sec != long.Unix() {
				t.Errorf("%v; it is %+v", err, after)
			}
		})
	}
}

func TestALargeDirectoryIsReadInPiecesAndWhole(t *testing.T) {
	for _, files := range []int{0, 1, namesAtOnce - 1, namesAtOnce, namesAtOnce + 1, 3 * namesAtOnce} {
		path := t.TempDir()
		for i := range files {
			if err := os.WriteFile(filepath.Join(path, strconv.Itoa(i)), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		dir, err := os.OpenRoot(path)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		seen := map[string]bool{}
		if err := Each(dir, func(name string) error { seen[name] = true; return nil }); err != nil || len(seen) != files {
			t.Errorf("of %d files there were %d, %v", files, len(seen), err)
		}
		stop := errors.New("enough")
		if err := Each(dir, func(string) error { return stop }); files > 0 && !errors.Is(err, stop) {
			t.Errorf("an error of the caller becomes %v", err)
		}
	}
}
