package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
)

type entries = []tar.Header

func TestLayersMergeAsTheSpecificationSays(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers []entries
		want   string
	}{
		{"missing parents are made",
			[]entries{{file("a/b/c")}}, "a/ 755\na/b/ 755\na/b/c\n"},
		{"a parent may come after its child",
			[]entries{{file("a/b"), dir("a", 0o700)}}, "a/ 700\na/b\n"},
		{"names may be absolute, dotted, or wind about",
			[]entries{{file("./a"), file("/b"), file("x/../c"), file(".//d/./e")}}, "a\nb\nc\nd/ 755\nd/e\n"},
		{"an upper file replaces a lower one",
			[]entries{{owned("a", 1)}, {owned("a", 2)}}, "a uid 2\n"},
		{"an upper directory takes over the attributes and keeps the entries",
			[]entries{{dir("d", 0o700), file("d/a")}, {dir("d", 0o711), file("d/b")}}, "d/ 711\nd/a\nd/b\n"},
		{"a directory only named on the way keeps the lower attributes",
			[]entries{{dir("d", 0o700)}, {file("d/b")}}, "d/ 700\nd/b\n"},
		{"a file replaces a directory",
			[]entries{{file("x/a")}, {file("x")}}, "x\n"},
		{"a directory replaces a file",
			[]entries{{file("x")}, {file("x/a")}}, "x/ 755\nx/a\n"},
		{"a directory replaces a symlink of a lower layer",
			[]entries{{dir("real", 0o755), symlink("x", "real")}, {file("x/a")}}, "real/ 755\nx/ 755\nx/a\n"},
		{"a symlink replaces a directory",
			[]entries{{file("x/a")}, {symlink("x", "y")}}, "x -> y\n"},
		{"of duplicates the last wins",
			[]entries{{owned("a", 1), owned("a", 2), dir("d", 0o700), file("d/x"), dir("d", 0o711)}}, "a uid 2\nd/ 711\nd/x\n"},
		{"a file replaced by a directory in one layer",
			[]entries{{file("a"), dir("a", 0o700), file("a/b")}}, "a/ 700\na/b\n"},

		{"a whiteout hides a lower file",
			[]entries{{file("d/a"), file("d/b")}, {file("d/.wh.a")}}, "d/ 755\nd/b\n"},
		{"a whiteout hides a lower directory with all in it",
			[]entries{{file("d/a/x"), file("d/b")}, {file("d/.wh.a")}}, "d/ 755\nd/b\n"},
		{"a whiteout after the new file of that name spares it",
			[]entries{{owned("a", 1)}, {owned("a", 2), file(".wh.a")}}, "a uid 2\n"},
		{"a whiteout before the new file of that name spares it",
			[]entries{{owned("a", 1)}, {file(".wh.a"), owned("a", 2)}}, "a uid 2\n"},
		{"a whiteout and a new directory leave nothing of the old one",
			[]entries{{dir("d", 0o700), file("d/old")}, {file("d/new"), file(".wh.d")}}, "d/ 755\nd/new\n"},
		{"a whiteout of nothing does nothing, nor does it make parents",
			[]entries{{file("a")}, {file(".wh.b"), file("no/such/.wh.c")}}, "a\n"},
		{"a whiteout below a lower file leaves it",
			[]entries{{file("a")}, {file("a/.wh.b")}}, "a\n"},
		{"a whited-out name may come back in a later layer",
			[]entries{{owned("a", 1)}, {file(".wh.a")}, {owned("a", 3)}}, "a uid 3\n"},

		{"an opaque marker hides lower entries only, when first",
			[]entries{{file("d/low")}, {file("d/.wh..wh..opq"), file("d/up")}}, "d/ 755\nd/up\n"},
		{"an opaque marker hides lower entries only, when last",
			[]entries{{file("d/low")}, {file("d/up"), file("d/sub/x"), file("d/.wh..wh..opq")}}, "d/ 755\nd/sub/ 755\nd/sub/x\nd/up\n"},
		{"an opaque marker keeps the directory",
			[]entries{{dir("d", 0o700), file("d/low")}, {file("d/.wh..wh..opq")}}, "d/ 700\n"},
		{"an opaque marker in the root",
			[]entries{{file("low")}, {file("up"), file(".wh..wh..opq")}}, "up\n"},
		{"bookkeeping of AUFS is left out",
			[]entries{{file(".wh..wh.plnk/12.34"), file("a"), file(".wh..wh.aufs"), file("d/.wh..wh.orph")}}, "a\n"},

		{"hard links share a file",
			[]entries{{file("a"), link("d/b", "a"), link("c", "/d/b")}}, "a\nc = a\nd/ 755\nd/b = a\n"},
		{"a hard link to a file of a lower layer",
			[]entries{{owned("a", 7)}, {link("b", "a")}}, "a uid 7\nb = a uid 7\n"},
		{"a hard link keeps the file when its target is replaced later",
			[]entries{{owned("a", 7), link("b", "a")}, {owned("a", 8)}}, "a uid 8\nb uid 7\n"},
		{"a hard link keeps the file when its target is whited out by the same layer",
			[]entries{{owned("a", 7)}, {link("b", "a"), file(".wh.a")}}, "b uid 7\n"},
		{"a hard link prefers the file of its own layer",
			[]entries{{owned("a", 1)}, {owned("a", 2), link("b", "a")}}, "a uid 2\nb = a uid 2\n"},
		{"a hard link to itself is the file",
			[]entries{{file("a"), link("a", "a")}}, "a\n"},
		{"a hard link to a symlink",
			[]entries{{symlink("s", "x"), link("l", "s")}}, "l -> x\ns = l\n"},

		{"symlinks of the same layer are followed, within the root",
			[]entries{{dir("usr/lib", 0o755), symlink("lib", "usr/lib"), symlink("abs", "/usr"), symlink("up", "../../usr/lib"),
				file("lib/a"), file("abs/b"), file("up/c")}},
			"abs -> /usr\nlib -> usr/lib\nup -> ../../usr/lib\nusr/ 755\nusr/b\nusr/lib/ 755\nusr/lib/a\nusr/lib/c\n"},
		{"an entry replaces the symlink it names",
			[]entries{{symlink("a", "/etc/passwd"), owned("a", 5)}}, "a uid 5\n"},
		{"the root may have an entry",
			[]entries{{dir("./", 0o711), file("a")}}, "a\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tars [][]byte
			for _, e := range c.layers {
				tars = append(tars, archive(t, e...))
			}
			tree, err := apply(t, tars...)
			if err != nil {
				t.Fatal(err)
			}
			if got := list(tree.Root()); got != c.want {
				t.Errorf("got:\n%swant:\n%s", got, c.want)
			}
		})
	}
}

func TestWhatNoLayerMayHold(t *testing.T) {
	long := strings.Repeat("x", 256)
	device := func(major, minor int64) tar.Header {
		return tar.Header{Typeflag: tar.TypeChar, Name: "dev", Devmajor: major, Devminor: minor}
	}
	for _, c := range []struct {
		name    string
		layer   entries
		message string
	}{
		{"a path out of the root", entries{file("../etc/passwd")}, "leads out of the root"},
		{"a path out of the root on the way", entries{file("a/../../b")}, "leads out of the root"},
		{"an absolute path out of the root", entries{file("/../b")}, "leads out of the root"},
		{"a hard link out of the root", entries{link("a", "../../etc/shadow")}, "leads out of the root"},
		{"a hard link to nothing", entries{link("a", "b")}, "does not exist"},
		{"a hard link before its target", entries{link("a", "b"), file("b")}, "does not exist"},
		{"a hard link to a directory", entries{dir("d", 0o755), link("a", "d")}, "directory"},
		{"a name of 256 bytes", entries{file(long)}, "at most 255"},
		{"a path of more than 4096 bytes", entries{file(strings.Repeat("x/", 2049) + "x")}, "at most 4096"},
		{"a symlink target of 4096 bytes", entries{symlink("a", strings.Repeat("x", 4096))}, "target"},
		{"a symlink without target", entries{symlink("a", "")}, "target"},
		{"symlinks in a circle", entries{symlink("a", "b"), symlink("b", "a"), file("a/x")}, "symbolic links"},
		{"an entry below a file", entries{file("a"), file("a/b")}, "not a directory"},
		{"a whiteout of .", entries{file("a/.wh..")}, "whiteout"},
		{"a whiteout of ..", entries{file("a/.wh...")}, "whiteout"},
		{"a whiteout without name", entries{file("a/.wh.")}, "whiteout"},
		{"overlayfs's own whiteout", entries{device(0, 0)}, "0:0"},
		{"an attribute of overlayfs", entries{xattr("a", "trusted.overlay.opaque", "y")}, "overlay"},
		{"an attribute of a nested overlayfs", entries{xattr("a", "trusted.overlay.overlay.whiteout", "y")}, "overlay"},
		{"attributes that do not fit", entries{xattr("a", "user.x", strings.Repeat("x", 5000))}, "extended attributes"},
		{"a malformed ACL", entries{xattr("a", "system.posix_acl_access", "xx")}, "ACL"},
		{"a device number too large", entries{device(5000, 1)}, "device number"},
		{"a root that is no directory", entries{symlink("./", "x")}, "root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := apply(t, archive(t, c.layer...))
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.message) {
				t.Errorf("error %v, want ErrInvalid that says %q", err, c.message)
			}
		})
	}
}

func TestAttributesOfEntries(t *testing.T) {
	h := tar.Header{
		Typeflag: tar.TypeBlock, Name: "dev", Mode: 0o104660, Uid: 3_000_000_000, Gid: 4_000_000_000,
		Devmajor: 8, Devminor: 1, PAXRecords: map[string]string{xattrRecord + "user.a": "b\x00c", xattrRecord + "com.apple.x": "y"},
	}
	tree, err := apply(t, archive(t, h))
	if err != nil {
		t.Fatal(err)
	}
	n := tree.Root().Children["dev"]
	if n.Mode != ext4.ModeBlock|0o4660 || n.UID != 3_000_000_000 || n.GID != 4_000_000_000 || n.Major != 8 || n.Minor != 1 ||
		string(n.Xattrs["user.a"]) != "b\x00c" || len(n.Xattrs) != 1 {
		t.Errorf("node %+v", n)
	}
	if skipped := tree.Skipped(); skipped["com.apple.x"] != 1 || len(skipped) != 1 {
		t.Errorf("skipped %v", skipped)
	}
}

func TestContentGoesToTheStore(t *testing.T) {
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	for _, body := range []string{"one", "", "three"} {
		h := file("f" + body)
		h.Size = int64(len(body))
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	var k keeper
	if err := NewTree().Apply(context.Background(), &out, &k); err != nil || !slices.Equal(k.contents, []string{"one", "", "three"}) {
		t.Errorf("contents %q, %v", k.contents, err)
	}
}

func TestTruncatedArchiveIsInvalid(t *testing.T) {
	h := file("a")
	h.Size = 5000
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	if err := tw.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{100, 512, 600, 5000} {
		if _, err := apply(t, out.Bytes()[:n]); !errors.Is(err, ErrInvalid) {
			t.Errorf("first %d bytes: %v", n, err)
		}
	}
}

func TestDirectoriesNestedWithoutBoundAreRefused(t *testing.T) {
	// Each symlink leads to the bottom of a deep path, so that paths short in
	// the archive are long in the tree.
	deep := strings.Repeat("d/", 1500)
	layer := entries{dir(deep, 0o755), symlink("s", deep), file("s/" + deep + "x")}
	if _, err := apply(t, archive(t, layer...)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "deep") {
		t.Errorf("error %v", err)
	}
}

func TestCancelledContextStopsApply(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var many entries
	for i := range 100 {
		many = append(many, file(fmt.Sprint(i)))
	}
	if err := NewTree().Apply(ctx, bytes.NewReader(archive(t, many...)), discard{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
