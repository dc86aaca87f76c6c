package files_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/files"
)

// TestPathsStayWithin finds paths in a root whose links lead anywhere.
func TestPathsStayWithin(t *testing.T) {
	base := t.TempDir()
	root := filepath.Join(base, "root")
	at := func(name string) string { return filepath.Join(root, name) }
	for _, err := range []error{
		os.MkdirAll(at("a/b"), 0o755), os.WriteFile(at("a/file"), []byte("within"), 0o600), os.WriteFile(filepath.Join(base, "secret"), []byte("secret"), 0o600),
		os.Symlink("/a", at("absolute")), os.Symlink("../../../../secret", at("out")), os.Symlink("/", at("a/b/up")), os.Symlink("loop", at("loop")),
		os.Symlink("/a/none", at("dangling")), os.Symlink("/a/b/up/a/file", at("far")), os.Symlink("/proc/self/root", at("magic")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	view, err := files.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	for _, test := range []struct {
		path   string
		follow bool
		name   string // of what is found; "-": there is nothing, in a directory that is there
		err    error
	}{
		{"/a/file", false, "file", nil},
		{"a/file", false, "file", nil},
		{"/absolute/file", false, "file", nil},
		{"/absolute", false, "absolute", nil},
		{"/absolute", true, "a", nil},
		{"/absolute/", false, ".", nil},
		{"/../../a/b/../file", true, "file", nil},
		{"/absolute/b/up/a/b/..", true, ".", nil},
		{"/far", true, "file", nil},
		{"/", true, ".", nil},
		{"/dangling", true, "-", nil},
		{"/out", true, "-", nil},
		{"/a/none", false, "-", nil},
		{"/none/none", false, "", fs.ErrNotExist},
		{"/a/file/", false, "", unix.ENOTDIR},
		{"/loop", true, "", unix.ELOOP},
		{"/magic/etc", true, "", fs.ErrNotExist},
		{"/a\x00", true, "", errors.ErrUnsupported},
		{strings.Repeat("/a", 4096), true, "", errors.ErrUnsupported},
	} {
		t.Run(test.path[:min(len(test.path), 30)], func(t *testing.T) {
			place, err := view.Locate(test.path, test.follow)
			if test.err != nil {
				if err == nil || test.err != errors.ErrUnsupported && !errors.Is(err, test.err) {
					t.Errorf("%+v, %v; want %v", place, err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer place.Dir.Close()
			if (place.Info == nil) != (test.name == "-") || test.name != "-" && place.Name != test.name {
				t.Errorf("%q, %v", place.Name, place.Info)
			}
		})
	}
}
