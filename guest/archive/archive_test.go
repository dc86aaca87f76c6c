//go:build linux

package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/archive"
)

func all(string) bool { return true }

// whole is what an extraction that trusts the tar asks for.
var whole = archive.ExtractOptions{Owners: true, Specials: true, Xattr: all}

func open(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// pack returns the tar of a directory as "top", and what was left out.
func pack(t testing.TB, dir string, owner *archive.Owner, own bool) (tarball []byte, warnings []string) {
	t.Helper()
	var out bytes.Buffer
	w := archive.NewWriter(&out)
	w.OwnHoles = own
	p := archive.NewPacker(w, archive.PackOptions{Owner: owner, Warn: func(s string) { warnings = append(warnings, s) }})
	must(t, p.Tree(t.Context(), open(t, dir), ".", "top"), w.Close())
	return out.Bytes(), warnings
}

// tree makes a bit of everything.
func tree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	long := strings.Repeat("long/", 30) + strings.Repeat("n", 120)
	must(t, os.MkdirAll(at("sub/empty"), 0o700), os.MkdirAll(filepath.Dir(at(long)), 0o755),
		os.WriteFile(at("plain"), []byte("plain\n"), 0o640),
		os.WriteFile(at("nothing"), nil, 0o600),
		os.WriteFile(at("zwölf µ"), []byte("name"), 0o644),
		os.WriteFile(at(long), bytes.Repeat([]byte("x"), 100_000), 0o644),
		os.WriteFile(at("program"), []byte("#!"), 0o755), os.Chmod(at("program"), 0o755|fs.ModeSetuid),
		os.Link(at("plain"), at("sub/other name")),
		os.Symlink("/etc/passwd", at("absolute")), os.Symlink(strings.Repeat("../", 50)+"gone", at("sub/long link")),
		unix.Mkfifo(at("fifo"), 0o620),
		unix.Setxattr(at("plain"), "user.note", []byte("a\x00b"), 0),
		unix.Setxattr(at("sub"), "user.dir", []byte("1"), 0))
	f, err := os.Create(at("holes"))
	must(t, err)
	_, err = f.WriteAt([]byte("middle"), 64<<20)
	must(t, err, f.Truncate(256<<20), f.Close())
	f, err = os.Create(at("one hole"))
	must(t, err, f.Truncate(1<<40), f.Close())
	past := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
	must(t, os.Chtimes(at("plain"), past, past), os.Chtimes(at("nothing"), past, time.Date(1960, 1, 1, 0, 0, 0, 5e8, time.UTC)),
		os.Chtimes(at("sub"), past, past))
	if os.Geteuid() == 0 {
		must(t, os.Chown(at("plain"), 1234, 3_000_000), unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	}
	return dir
}

// describe lists a tree with all that a copy keeps.
func describe(t testing.TB, dir string) (lines []string) {
	t.Helper()
	names := map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		line := fmt.Sprintf("%s %o %d:%d dev=%d mtime=%d", name, st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim.Nano())
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			line += fmt.Sprintf(" size=%d", st.Size)
			if st.Size < 1<<20 {
				content, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				line += fmt.Sprintf(" content=%x", content)
			} else if st.Blocks > 1024 {
				line += " full"
			}
			if names[st.Ino] != "" {
				line += " is " + names[st.Ino]
			}
			names[st.Ino] = name
		case unix.S_IFLNK:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " to " + target
		}
		value := make([]byte, 100)
		for _, attr := range []string{"user.note", "user.dir"} {
			if n, err := unix.Lgetxattr(p, attr, value); err == nil {
				line += fmt.Sprintf(" %s=%q", attr, value[:n])
			}
		}
		lines = append(lines, line)
		return nil
	}))
	return lines
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			t.Errorf("is   %s\nwant %s", got[i], want[i])
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
}

func TestATreeIsTheSameAfterwards(t *testing.T) {
	from := tree(t)
	tarball, warnings := pack(t, from, nil, true)
	to := t.TempDir()
	must(t, archive.Extract(t.Context(), open(t, to), bytes.NewReader(tarball), whole))
	same(t, describe(t, filepath.Join(to, "top")), describe(t, from))
	if len(warnings) > 0 {
		t.Errorf("warnings %q", warnings)
	}
	if len(tarball) > 2<<20 {
		t.Errorf("the tar has %d bytes: holes went into it", len(tarball))
	}
}

func TestOtherTarsAreUnderstoodAndUnderstandOurs(t *testing.T) {
	from := tree(t)
	// GNU tar reads holes as long as data, and warns of times before 1970.
	must(t, os.Remove(filepath.Join(from, "one hole")), os.Remove(filepath.Join(from, "nothing")))
	tarball, _ := pack(t, from, nil, false)
	to := t.TempDir()
	cmd := exec.Command("tar", "--xattrs", "-xpf", "-", "-C", to)
	cmd.Stdin = bytes.NewReader(tarball)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	same(t, describe(t, filepath.Join(to, "top")), describe(t, from))
	for _, format := range []string{"gnu", "pax", "ustar"} {
		t.Run(format, func(t *testing.T) {
			from := t.TempDir()
			must(t, os.Mkdir(filepath.Join(from, "d"), 0o750), os.WriteFile(filepath.Join(from, "d/f"), []byte("f"), 0o600), os.Symlink("f", filepath.Join(from, "d/l")))
			out, err := exec.Command("tar", "--format="+format, "-C", from, "-cf", "-", "d").Output()
			must(t, err)
			to := t.TempDir()
			must(t, archive.Extract(t.Context(), open(t, to), bytes.NewReader(out), whole))
			if content, err := os.ReadFile(filepath.Join(to, "d/l")); err != nil || string(content) != "f" {
				t.Errorf("%q, %v", content, err)
			}
		})
	}
}

// entries makes a tar as an enemy would.
func entries(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		body := "evil"
		if h.Typeflag != tar.TypeReg {
			body = ""
		}
		h.Size = int64(len(body))
		must(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, body)
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

func TestNothingIsWrittenElsewhere(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}
	}
	hard := func(name, to string) tar.Header { return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink} }
	for _, test := range []struct {
		name    string
		entries []tar.Header
		refused string // what the error says; empty: it is done
	}{
		{"a name that leads upwards", []tar.Header{file("../outside/f")}, "upwards"},
		{"and one that does so later", []tar.Header{file("a/../../outside/f")}, "upwards"},
		{"an absolute name is below", []tar.Header{file("/outside/f")}, ""},
		{"a link to elsewhere as a directory", []tar.Header{link("d", "../outside"), file("d/f")}, "escapes"},
		{"an absolute one", []tar.Header{link("d", "/tmp"), file("d/f")}, "escapes"},
		{"links in a row", []tar.Header{link("a", ".."), link("b", "a/outside"), file("b/f")}, "escapes"},
		{"a link in the place of a file is replaced", []tar.Header{link("secret", "../outside/secret"), file("secret")}, ""},
		{"a hard link to a file outside", []tar.Header{hard("h", "../outside/secret")}, "upwards"},
		{"an absolute one is below", []tar.Header{hard("h", "/outside/secret")}, "does not have before it"},
		{"a hard link through a link", []tar.Header{link("d", "../outside"), hard("h", "d/secret")}, "does not have before it"},
		{"a hard link to what was there before", []tar.Header{hard("h", "mine")}, "does not have before it"},
		{"a file in the place of a directory", []tar.Header{file("dir")}, "there is a directory of that name"},
		{"a directory in the place of a file", []tar.Header{{Name: "mine/", Typeflag: tar.TypeDir}}, "no directory"},
		{"a directory over a link to elsewhere", []tar.Header{link("d", "../outside"), {Name: "d/", Typeflag: tar.TypeDir, Mode: 0o777}}, "escapes"},
		{"no name", []tar.Header{file(".")}, "no name"},
		{"a device", []tar.Header{{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			base := t.TempDir()
			outside, inside := filepath.Join(base, "outside"), filepath.Join(base, "inside")
			must(t, os.Mkdir(outside, 0o700), os.MkdirAll(filepath.Join(inside, "dir"), 0o700),
				os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600), os.WriteFile(filepath.Join(inside, "mine"), []byte("mine"), 0o600))
			before := describe(t, outside)
			err := archive.Extract(t.Context(), open(t, inside), bytes.NewReader(entries(t, test.entries...)), archive.ExtractOptions{})
			if (err == nil) != (test.refused == "") || err != nil && !strings.Contains(err.Error(), test.refused) {
				t.Errorf("error %v, want %q", err, test.refused)
			}
			if after := describe(t, outside); !slices.Equal(after, before) {
				t.Errorf("outside is\n%s\nwas\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
			}
			if content, err := os.ReadFile(filepath.Join(inside, "mine")); err != nil || string(content) != "mine" {
				t.Errorf("a file that was there: %q, %v", content, err)
			}
			for _, line := range describe(t, inside) {
				if strings.Contains(line, ".vzctl-") || strings.Contains(line, " dev=259") {
					t.Errorf("left: %s", line)
				}
			}
		})
	}
}

func TestWithoutOwnersNobodyGetsRights(t *testing.T) {
	from := tree(t)
	tarball, _ := pack(t, from, nil, true)
	var warnings []string
	to := t.TempDir()
	must(t, archive.Extract(t.Context(), open(t, to), bytes.NewReader(tarball), archive.ExtractOptions{Warn: func(s string) { warnings = append(warnings, s) }}))
	info, err := os.Stat(filepath.Join(to, "top/program"))
	must(t, err)
	if info.Mode() != 0o755 {
		t.Errorf("mode %v", info.Mode())
	}
	info, err = os.Stat(filepath.Join(to, "top/plain"))
	must(t, err)
	if owner := info.Sys().(*syscall.Stat_t); int(owner.Uid) != os.Geteuid() {
		t.Errorf("owner %d", owner.Uid)
	}
	if len(warnings) == 0 || !strings.Contains(strings.Join(warnings, "\n"), `fifo" was left out`) {
		t.Errorf("warnings %q", warnings)
	}
}

func TestABrokenTarLeavesNoHalfFile(t *testing.T) {
	whole := entries(t, tar.Header{Name: "first", Typeflag: tar.TypeReg}, tar.Header{Name: "second", Typeflag: tar.TypeReg})
	for _, length := range []int{1500, 1538, len(whole)} {
		to := t.TempDir()
		must(t, os.WriteFile(filepath.Join(to, "second"), []byte("old"), 0o600))
		broken := io.MultiReader(bytes.NewReader(whole[:min(length, 1538)]), errorReader{})
		err := archive.Extract(t.Context(), open(t, to), broken, archive.ExtractOptions{})
		second, readErr := os.ReadFile(filepath.Join(to, "second"))
		names, listErr := os.ReadDir(to)
		must(t, readErr, listErr)
		if err == nil || string(second) != "old" || len(names) != 2 {
			t.Errorf("after %d bytes: error %v, second %q, %d files", length, err, second, len(names))
		}
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestAHugeSizeEndsWithTheCaller(t *testing.T) {
	var out bytes.Buffer
	w := archive.NewWriter(&out)
	must(t, w.Next(archive.Header{Name: "huge", Type: tar.TypeReg, Mode: 0o600, Size: 1 << 43, Data: []archive.Segment{}}), w.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	to := t.TempDir()
	err := archive.Extract(ctx, open(t, to), &out, archive.ExtractOptions{})
	if names, _ := os.ReadDir(to); err == nil || len(names) != 0 {
		t.Errorf("error %v, %d files", err, len(names))
	}
}

func TestOneFileUnderAnotherName(t *testing.T) {
	from := tree(t)
	tarball, _ := pack(t, from, &archive.Owner{}, true)
	to := t.TempDir()
	options := archive.ExtractOptions{Rename: "copy"}
	must(t, archive.Extract(t.Context(), open(t, to), bytes.NewReader(tarball), options))
	if names, _ := os.ReadDir(to); len(names) != 1 || names[0].Name() != "copy" {
		t.Errorf("%v", names)
	}
	two := entries(t, tar.Header{Name: "a", Typeflag: tar.TypeReg}, tar.Header{Name: "b", Typeflag: tar.TypeReg})
	if err := archive.Extract(t.Context(), open(t, to), bytes.NewReader(two), options); err == nil {
		t.Error("two files under one name")
	}
}

// FuzzExtract has a tar of anybody extracted: outside of the directory nothing changes, and inside nothing is left half.
func FuzzExtract(f *testing.F) {
	tarball, _ := pack(f, f.TempDir(), nil, true)
	f.Add(tarball)
	f.Add(entries(f, tar.Header{Name: "d", Linkname: "../outside", Typeflag: tar.TypeSymlink}, tar.Header{Name: "d/f", Typeflag: tar.TypeReg}))
	f.Add(entries(f, tar.Header{Name: "a", Typeflag: tar.TypeReg}, tar.Header{Name: "h", Linkname: "a", Typeflag: tar.TypeLink}))
	var sparse bytes.Buffer
	w := archive.NewWriter(&sparse)
	must(f, w.Next(archive.Header{Name: "s", Type: tar.TypeReg, Mode: 0o600, Size: 100_000, Data: []archive.Segment{{Offset: 512, Length: 3}}}))
	_, err := w.Write([]byte("abc"))
	must(f, err, w.Close())
	f.Add(bytes.Clone(sparse.Bytes()))
	sparse.Reset()
	w.OwnHoles = true
	must(f, w.Next(archive.Header{Name: "s", Type: tar.TypeReg, Mode: 0o600, Size: 100_000, Data: []archive.Segment{{Offset: 512, Length: 3}}}))
	_, err = w.Write([]byte("abc"))
	must(f, err, w.Close())
	f.Add(bytes.Clone(sparse.Bytes()))
	f.Fuzz(func(t *testing.T, tarball []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		base := t.TempDir()
		must(t, os.Mkdir(filepath.Join(base, "outside"), 0o700), os.Mkdir(filepath.Join(base, "inside"), 0o700),
			os.WriteFile(filepath.Join(base, "outside/secret"), []byte("secret"), 0o600))
		before := describe(t, filepath.Join(base, "outside"))
		_ = archive.Extract(ctx, open(t, filepath.Join(base, "inside")), bytes.NewReader(tarball), archive.ExtractOptions{})
		names, err := os.ReadDir(base)
		must(t, err)
		if len(names) != 2 || !slices.Equal(describe(t, filepath.Join(base, "outside")), before) {
			t.Error("something was written outside")
		}
	})
}
