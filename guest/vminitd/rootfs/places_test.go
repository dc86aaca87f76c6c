package rootfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestPlacesAreEmptyAndOnlyThoseOfAllContainers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "places")
	if err := MakePlaces(dir); err != nil {
		t.Fatal(err)
	}
	var found []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		found = append(found, path+" "+info.Mode().String())
		if info.Mode().IsRegular() && info.Size() > 0 {
			t.Errorf("%s has %d bytes", path, info.Size())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{". drwxr-xr-x", "dev drwxr-xr-x", "etc drwxr-xr-x", "etc/hostname -rw-r--r--", "etc/hosts -rw-r--r--", "etc/resolv.conf -rw-r--r--", "proc drwxr-xr-x", "sys drwxr-xr-x"}
	if !slices.Equal(found, want) {
		t.Errorf("it has %q; want %q", found, want)
	}
	if err := MakePlaces(dir); err == nil {
		t.Error("it is filled twice")
	}
}
