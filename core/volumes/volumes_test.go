package volumes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

func format(path string) (rootfs.Disk, error) {
	return rootfs.Disk{Path: path, FileSystem: "ext4", SizeBytes: 5}, os.WriteFile(path, []byte("empty"), 0o600)
}

func nobody() ([]string, error) { return nil, nil }

func TestAVolumeIsMadeOnceAndWhole(t *testing.T) {
	s := At(store.Paths{Root: t.TempDir()})
	if list, err := s.List(); len(list) > 0 || err != nil {
		t.Fatal(list, err)
	}
	broken := errors.New("the disk is full")
	if _, _, err := s.Ensure(t.Context(), Volume{Name: "db"}, func(path string) (rootfs.Disk, error) {
		return rootfs.Disk{}, errors.Join(broken, os.WriteFile(path, []byte("half"), 0o600))
	}); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if _, err := s.Get("db"); !errors.Is(err, fault.NotFound) {
		t.Errorf("of a volume that could not be made there is %v", err)
	}
	// One whose maker was killed is made anew.
	if err := errors.Join(os.MkdirAll(s.paths.Volume("db"), 0o700), os.WriteFile(s.paths.VolumeDisk("db"), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		v, made, err := s.Ensure(t.Context(), Volume{Name: "db", Labels: map[string]string{"a": "b"}}, format)
		if err != nil || made != want || v.Labels["a"] != "b" {
			t.Errorf("time %d: %+v, made %v, %v", i, v, made, err)
		}
	}
	if list, err := s.List(); len(list) != 1 || list[0].Name != "db" || err != nil {
		t.Error(list, err)
	}
	for _, name := range []string{"", "../x", ".lock", "a b"} {
		if _, _, err := s.Ensure(t.Context(), Volume{Name: name}, format); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestOneWritesOrManyRead(t *testing.T) {
	s := At(store.Paths{Root: t.TempDir()})
	if _, _, err := s.Ensure(t.Context(), Volume{Name: "db"}, format); err != nil {
		t.Fatal(err)
	}
	other := func() ([]string, error) { return []string{"web"}, nil }
	writer, err := s.Use("db", false, nobody)
	if err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		if _, err := s.Use("db", readOnly, other); !errors.Is(err, fault.FailedPrecondition) || !strings.Contains(err.Error(), `"web"`) {
			t.Errorf("beside a writer, to read %v: %v", readOnly, err)
		}
	}
	if err := s.Remove(t.Context(), "db", nobody); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("removal of one in use: %v", err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		reader, err := s.Use("db", true, nobody)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
	}
	if _, err := s.Use("db", false, other); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("to write beside readers: %v", err)
	}
}

func TestAVolumeOfAContainerIsNotRemoved(t *testing.T) {
	s := At(store.Paths{Root: t.TempDir()})
	if err := s.Remove(t.Context(), "db", nobody); !errors.Is(err, fault.NotFound) {
		t.Error(err)
	}
	if _, _, err := s.Ensure(t.Context(), Volume{Name: "db"}, format); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "db", func() ([]string, error) { return []string{"web"}, nil }); !errors.Is(err, fault.FailedPrecondition) || !strings.Contains(err.Error(), `"web"`) {
		t.Error(err)
	}
	if err := os.MkdirAll(filepath.Join(s.paths.Volumes(), removing+"x"), 0o700); err != nil { // of a killed one
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "db", nobody); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(s.paths.Volumes()); len(left) != 1 || err != nil { // the lock
		t.Error(left, err)
	}
}
