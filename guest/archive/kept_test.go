package archive

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Whoever sends a tar may go on for ever, and who reads it keeps names and attributes of some entries to the end.
func TestWhatATarHasKeptInMemoryIsBounded(t *testing.T) {
	const most = maxKept
	attribute := map[string]string{xattrKey + "user.note": strings.Repeat("x", 100)}
	for name, entries := range map[string][]tar.Header{
		"names of directories":      {{Name: "a/" + strings.Repeat("d", 60), Typeflag: tar.TypeDir}},
		"attributes of directories": {{Name: "a/d", Typeflag: tar.TypeDir, PAXRecords: attribute}},
		"names of files":            {{Name: "a/" + strings.Repeat("f", 100), Typeflag: tar.TypeReg}},
		"names of links":            {{Name: "a/" + strings.Repeat("l", 100), Typeflag: tar.TypeSymlink, Linkname: "x"}},
		"further names of files":    {{Name: "a/f", Typeflag: tar.TypeReg}, {Name: "a/" + strings.Repeat("f", 100), Typeflag: tar.TypeLink, Linkname: "a/f"}},
	} {
		t.Run(name, func(t *testing.T) {
			root, err := os.OpenRoot(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			x := &extraction{ctx: t.Context(), root: root, made: map[string]bool{}, parentName: ".", buffer: make([]byte, 100), kept: most - 90,
				options: ExtractOptions{Xattr: func(string) bool { return true }}}
			defer x.leave()
			var last error
			for i := range entries {
				if last != nil {
					t.Fatal("before the last entry:", last)
				}
				entries[i].ModTime = time.Unix(1, 0)
				last = x.entry(&entries[i], strings.NewReader(""))
			}
			if last == nil || !strings.Contains(last.Error(), "than can be kept in memory") {
				t.Errorf("error %v, with %d bytes kept", last, x.kept)
			}
		})
	}
}

func TestWhatAPackerKeepsOfFilesWithSeveralNamesIsBounded(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "one"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "one"), filepath.Join(dir, "two")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var tarball strings.Builder
	p := NewPacker(NewWriter(&tarball), PackOptions{})
	p.kept = maxKeptNames - 2
	if err := p.Tree(context.Background(), root, ".", "."); err == nil || !strings.Contains(err.Error(), "too many files with several names") {
		t.Errorf("error %v", err)
	}
}
