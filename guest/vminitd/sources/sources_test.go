package sources

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestAnEmptyVolumeGetsTheImagesContentAllAtOnce(t *testing.T) {
	root, disk := t.TempDir(), t.TempDir()
	content := filepath.Join(disk, volumeData)
	must(t, os.MkdirAll(filepath.Join(root, "data"), 0o750), os.WriteFile(filepath.Join(root, "data", "file"), nil, 0o600), os.Mkdir(filepath.Join(root, "data", "sub"), 0o700))
	v := Volume{CopyFrom: "/data"}

	if err := fill(Volume{CopyFrom: "/data", ReadOnly: true}, disk, content, Root{Path: root}); err == nil {
		t.Error("a new volume is used read-only")
	}
	must(t, os.MkdirAll(filepath.Join(disk, volumeDraft, "of a killed one"), 0o700), fill(v, disk, content, Root{Path: root}))
	if got := names(t, content); got != "file sub" || names(t, disk) != volumeData {
		t.Errorf("in the volume is %q, on the disk %q", got, names(t, disk))
	}
	must(t, os.Remove(filepath.Join(content, "file")), fill(v, disk, content, Root{Path: root}))
	if got := names(t, content); got != "sub" {
		t.Errorf("what was removed is back: %q", got)
	}
	must(t, os.Remove(filepath.Join(content, "sub")), fill(Volume{}, disk, content, Root{Path: root}))
	if got := names(t, content); got != "" {
		t.Errorf("something was copied that was not to be: %q", got)
	}
	must(t, fill(v, disk, content, Root{Path: root}))
	if got := names(t, content); got != "file sub" {
		t.Errorf("an empty volume stays so: %q", got)
	}
}

// The guest that wrote to a volume before may have been anybody's.
func TestAVolumeWhoseDirectoryIsALinkIsRefused(t *testing.T) {
	root, disk := t.TempDir(), t.TempDir()
	content := filepath.Join(disk, volumeData)
	must(t, os.Symlink(root, content))
	for _, v := range []Volume{{}, {CopyFrom: "/"}} {
		if err := fill(v, disk, content, Root{Path: root}); err == nil {
			t.Errorf("%+v: a link is taken for the volume's directory", v)
		}
	}
}

func TestASourceIsWhereItIsMountedOrAFileInIt(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, Directory, "share0"), 0o700), os.WriteFile(filepath.Join(dir, Directory, "share0", "file"), nil, 0o600),
		os.Symlink("/etc", filepath.Join(dir, Directory, "share0", "link")), os.WriteFile(filepath.Join(dir, "hosts"), nil, 0o600))
	s := Set{dir: dir}
	for _, source := range []string{"sources/share0", "sources/share0/file"} {
		if got, err := s.Path(source); got != filepath.Join(dir, source) || err != nil {
			t.Errorf("%s: %s, %v", source, got, err)
		}
	}
	for _, source := range []string{"sources", "hosts", "sources/../hosts", "../..", "sources/share1", "sources/share0/link", "sources/share0/link/passwd", "", "."} {
		if got, err := s.Path(source); err == nil {
			t.Errorf("%q is %s", source, got)
		}
	}
}

func TestSourcesThatAreNone(t *testing.T) {
	for name, s := range map[string]Source{
		"no name": {Share: &Share{Tag: "a", Type: "9p"}}, "a name with a slash": {Name: "../a", Share: &Share{Tag: "a", Type: "9p"}}, "nothing": {Name: "a"},
		"both": {Name: "a", Share: &Share{Tag: "a", Type: "9p"}, Volume: &Volume{}}, "another type": {Name: "a", Share: &Share{Tag: "a", Type: "nfs"}},
		"a tag with options": {Name: "a", Share: &Share{Tag: "a,b", Type: "9p"}},
	} {
		dir := t.TempDir()
		if _, err := Mount(t.Context(), dir, Root{Path: dir}, []Source{s}, nil); err == nil {
			t.Errorf("%s is mounted", name)
		}
	}
}
