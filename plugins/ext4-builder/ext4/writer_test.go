package ext4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/ext4-builder/image/imagetest"
)

// everything fills a tree with each kind of thing ext4 can hold.
func everything(add func(string, *Node), data func(string) Data) {
	linked := file(data("two names, one file\n"))
	add("linked", linked)
	sub := dir()
	sub.Children["other"] = linked
	sub.Children["deeper"] = dir()
	add("sub", sub)
	add("empty", file(Data{}))
	add("block", file(data(strings.Repeat("x", blockSize))))
	add("long", file(data(strings.Repeat("0123456789", 100_000))))
	add("hole", file(data(strings.Repeat("a", holeUnit)+strings.Repeat("\x00", 3*holeUnit)+"end")))
	add("zero", file(data(strings.Repeat("\x00", 10*holeUnit+1))))
	add("short link", &Node{Mode: ModeSymlink | 0o777, Target: strings.Repeat("s", 59)})
	add("block link", &Node{Mode: ModeSymlink | 0o777, Target: strings.Repeat("b", 60)})
	add("longest link", &Node{Mode: ModeSymlink | 0o777, Target: strings.Repeat("l", MaxTarget)})
	add("null", &Node{Mode: ModeChar | 0o666, Major: 1, Minor: 3})
	add("disk", &Node{Mode: ModeBlock | 0o660, Major: 259, Minor: 70000, GID: 6})
	add("pipe", &Node{Mode: ModeFIFO | 0o600})
	add("socket", &Node{Mode: ModeSocket | 0o755})
	add("setuid", &Node{Mode: ModeRegular | 0o4755, UID: 1 << 31, GID: 4294967294})
	add("sticky", &Node{Mode: ModeDir | 0o3777, Children: map[string]*Node{}, ModTime: testTime})
	add("old", &Node{Mode: ModeRegular | 0o400, ModTime: time.Date(1925, 1, 2, 3, 4, 5, 6, time.UTC)})
	add("future", &Node{Mode: ModeRegular | 0o400, ModTime: time.Date(2400, 1, 2, 3, 4, 5, 6, time.UTC)})
	add(strings.Repeat("n", MaxName), file(Data{}))
	add("non-utf8 \xff\xfe", file(Data{}))
	attrs := file(Data{})
	attrs.Xattrs = map[string][]byte{
		"security.capability":     {1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"user.empty":              nil,
		"user.large":              bytes.Repeat([]byte{7}, 3000),
		"trusted.x":               []byte("y"),
		"system.posix_acl_access": aclXattr(),
	}
	add("attrs", attrs)
}

// aclXattr is user::rw-, user:1000:r--, group::r--, mask::r--, other::---.
func aclXattr() []byte {
	return []byte{
		2, 0, 0, 0,
		1, 0, 6, 0, 255, 255, 255, 255,
		2, 0, 4, 0, 0xe8, 3, 0, 0,
		4, 0, 4, 0, 255, 255, 255, 255,
		16, 0, 4, 0, 255, 255, 255, 255,
		32, 0, 0, 0, 255, 255, 255, 255,
	}
}

func TestImageHoldsWhatWasPutIn(t *testing.T) {
	f := imageFile(t)
	build(t, f, everything)
	imagetest.Fsck(t, f.Name())
	fs := openFile(t, f)

	if got := content(t, fs, "linked"); got != "two names, one file\n" {
		t.Errorf("content of linked: %q", got)
	}
	if a, b := lookup(t, fs, "linked"), lookup(t, fs, "sub/other"); a.Number != b.Number || a.Links != 2 {
		t.Errorf("hard links: inodes %d and %d, %d links", a.Number, b.Number, a.Links)
	}
	if got := content(t, fs, "long"); got != strings.Repeat("0123456789", 100_000) {
		t.Errorf("long file differs")
	}
	if got := content(t, fs, "hole"); got != strings.Repeat("a", holeUnit)+strings.Repeat("\x00", 3*holeUnit)+"end" {
		t.Errorf("file with a hole differs")
	}
	if got := content(t, fs, "zero"); got != strings.Repeat("\x00", 10*holeUnit+1) {
		t.Errorf("file of zeros differs")
	}
	for name, target := range map[string]string{
		"short link": strings.Repeat("s", 59), "block link": strings.Repeat("b", 60), "longest link": strings.Repeat("l", MaxTarget),
	} {
		if got, err := fs.Readlink(lookup(t, fs, name)); err != nil || got != target {
			t.Errorf("%s: target %q, %v", name, got, err)
		}
	}
	if in := lookup(t, fs, "disk"); in.Major != 259 || in.Minor != 70000 || in.GID != 6 || in.Mode != ModeBlock|0o660 {
		t.Errorf("disk: %+v", in)
	}
	if in := lookup(t, fs, "setuid"); in.Mode != ModeRegular|0o4755 || in.UID != 1<<31 || in.GID != 4294967294 {
		t.Errorf("setuid: %+v", in)
	}
	for name, want := range map[string]time.Time{
		"linked": testTime, "old": time.Date(1925, 1, 2, 3, 4, 5, 6, time.UTC),
		"future": time.Date(2400, 1, 2, 3, 4, 5, 6, time.UTC), "null": time.Unix(0, 0),
	} {
		if in := lookup(t, fs, name); !in.ModTime.Equal(want) {
			t.Errorf("%s: modified %v, want %v", name, in.ModTime, want)
		}
	}
	attrs, err := fs.Xattrs(lookup(t, fs, "attrs"))
	if err != nil || len(attrs) != 5 || !bytes.Equal(attrs["system.posix_acl_access"], aclXattr()) ||
		string(attrs["trusted.x"]) != "y" || len(attrs["user.large"]) != 3000 || len(attrs["security.capability"]) != 20 {
		t.Errorf("attributes: %v, %v", maps.Keys(attrs), err)
	}
}

func TestEqualInputGivesEqualBytes(t *testing.T) {
	var a, b memory
	build(t, &a, everything)
	build(t, &b, everything)
	if !bytes.Equal(a.b, b.b) {
		t.Error("two images of the same tree differ")
	}
}

// TestBytesAreThoseOfTheLastRelease fails when the bytes of images change. Running
// containers depend on them: raise image.Version together with the sum.
func TestBytesAreThoseOfTheLastRelease(t *testing.T) {
	var image memory
	build(t, &image, everything)
	const want = "de77f429f89ffd8be354ed5611302c9704dfc058391b450bed365626e8b35be3"
	if got := fmt.Sprintf("%x", sha256.Sum256(image.b)); got != want {
		t.Errorf("image has sum %s, want %s", got, want)
	}
}

func TestReplacedDataIsFreed(t *testing.T) {
	f := imageFile(t)
	build(t, f, func(add func(string, *Node), data func(string) Data) {
		add("first", file(data("first")))
		data(strings.Repeat("secret of a layer below\n", 10_000))
		add("last", file(data("last")))
	})
	imagetest.Fsck(t, f.Name())
	fs := openFile(t, f)
	if got := content(t, fs, "first") + content(t, fs, "last"); got != "firstlast" {
		t.Errorf("content %q", got)
	}
	raw := make([]byte, 1<<20)
	if _, err := f.ReadAt(raw, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte("secret")) {
		t.Error("replaced data is still in the image")
	}
}

func TestDirectoriesOfAnySize(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries int
		format  string
	}{
		{"a full linear block", 338, "%04d"},
		{"one entry more than a block holds", 339, "%04d"},
		{"tens of thousands of entries", 40_000, "name-%d"},
		{"an index of two levels", 9_000, strings.Repeat("x", 240) + "%d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := imageFile(t)
			build(t, f, func(add func(string, *Node), _ func(string) Data) {
				for i := range c.entries {
					add(fmt.Sprintf(c.format, i), file(Data{}))
				}
			})
			imagetest.Fsck(t, f.Name())
			fs := openFile(t, f)
			entries, err := fs.ReadDir(lookup(t, fs, "/"))
			if err != nil || len(entries) != c.entries {
				t.Fatalf("%d entries, %v; want %d", len(entries), err, c.entries)
			}
			name := fmt.Sprintf(c.format, c.entries/2)
			if out := debugfs(t, f.Name(), "stat "+name); !strings.Contains(out, "Type: regular") {
				t.Errorf("debugfs finds no %q: %s", name, out)
			}
		})
	}
}

// TestNamesOfEqualHash makes sure that names which collide in the hash index
// are found when a leaf ends between them.
func TestNamesOfEqualHash(t *testing.T) {
	seed := newSuperblock(testOptions).HashSeed
	byHash := make(map[uint32]string)
	var names []string
	for i := 0; len(names) < 400; i++ {
		name := fmt.Sprintf("%s-%d", strings.Repeat("c", 150), i)
		hash := dirHash(name, seed)
		if other, taken := byHash[hash]; taken {
			names = append(names, name, other)
		}
		byHash[hash] = name
	}
	f := imageFile(t)
	build(t, f, func(add func(string, *Node), _ func(string) Data) {
		for _, name := range names {
			add(name, file(Data{}))
		}
	})
	imagetest.Fsck(t, f.Name())
}

func TestFragmentedFilesHaveDeepExtentTrees(t *testing.T) {
	for _, runs := range []int{4, 5, 1361} {
		t.Run(fmt.Sprintf("%d runs of data", runs), func(t *testing.T) {
			unit := append(bytes.Repeat([]byte{0}, holeUnit), append([]byte("data"), make([]byte, holeUnit-4)...)...)
			want := string(bytes.Repeat(unit, runs))
			f := imageFile(t)
			build(t, f, func(add func(string, *Node), data func(string) Data) { add("f", file(data(want))) })
			imagetest.Fsck(t, f.Name())
			if got := content(t, openFile(t, f), "f"); got != want {
				t.Error("content differs")
			}
		})
	}
}

// zeroReader is an endless file of zeros.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestFileOfMoreThan4GiB(t *testing.T) {
	const hole = 4<<30 + 12*holeUnit
	f := imageFile(t)
	w := NewWriter(f, testOptions)
	r := io.MultiReader(strings.NewReader("start"), io.LimitReader(zeroReader{}, hole-5), strings.NewReader("end"))
	data, err := w.AddData(context.Background(), r, hole+3)
	if err != nil {
		t.Fatal(err)
	}
	root := dir()
	root.Children["large"] = file(data)
	if err := w.Finish(context.Background(), root); err != nil {
		t.Fatal(err)
	}
	imagetest.Fsck(t, f.Name())
	fs := openFile(t, f)
	in := lookup(t, fs, "large")
	large, err := fs.Open(in)
	if err != nil || in.Size != hole+3 {
		t.Fatalf("size %d, %v", in.Size, err)
	}
	tail := make([]byte, 8)
	if n, err := large.ReadAt(tail, hole-5); n != 8 || err != nil || string(tail) != "\x00\x00\x00\x00\x00end" {
		t.Errorf("end of file: %q, %v", tail[:n], err)
	}
	if info, err := f.Stat(); err != nil || info.Size() > 4<<20 {
		t.Errorf("image of %d bytes, %v", info.Size(), err)
	}
}

func TestWhatExt4CannotHoldIsRefused(t *testing.T) {
	many := file(Data{})
	for _, c := range []struct {
		name string
		fill func(root *Node)
	}{
		{"a name of 256 bytes", func(r *Node) { r.Children[strings.Repeat("x", 256)] = file(Data{}) }},
		{"a name with a slash", func(r *Node) { r.Children["a/b"] = file(Data{}) }},
		{"the name ..", func(r *Node) { r.Children[".."] = file(Data{}) }},
		{"an empty name", func(r *Node) { r.Children[""] = file(Data{}) }},
		{"an empty symlink", func(r *Node) { r.Children["l"] = &Node{Mode: ModeSymlink} }},
		{"a symlink of 4096 bytes", func(r *Node) { r.Children["l"] = &Node{Mode: ModeSymlink, Target: strings.Repeat("x", 4096)} }},
		{"a device with a huge number", func(r *Node) { r.Children["d"] = &Node{Mode: ModeChar, Major: 4096} }},
		{"an unknown type", func(r *Node) { r.Children["u"] = &Node{Mode: 0o644} }},
		{"a directory with two names", func(r *Node) { d := dir(); r.Children["a"], r.Children["b"] = d, d }},
		{"a directory inside itself", func(r *Node) { d := dir(); d.Children["d"] = d; r.Children["d"] = d }},
		{"attributes larger than a block", func(r *Node) {
			n := file(Data{})
			n.Xattrs = map[string][]byte{"user.x": make([]byte, 4096)}
			r.Children["x"] = n
		}},
		{"an attribute without name space", func(r *Node) {
			n := file(Data{})
			n.Xattrs = map[string][]byte{"com.apple.quarantine": nil}
			r.Children["x"] = n
		}},
		{"more hard links than can be counted", func(r *Node) {
			for i := range MaxLinks + 1 {
				r.Children[fmt.Sprint(i)] = many
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := dir()
			c.fill(root)
			err := NewWriter(&memory{}, testOptions).Finish(context.Background(), root)
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("error %v, want one of ErrInvalid", err)
			}
		})
	}
}

// fullDisk is an Output with room for some bytes.
type fullDisk struct {
	memory
	room int
}

func (d *fullDisk) WriteAt(p []byte, offset int64) (int, error) {
	if d.room -= len(p); d.room < 0 {
		return 0, &fsError{syscall.ENOSPC}
	}
	return d.memory.WriteAt(p, offset)
}

type fsError struct{ error }

func (e *fsError) Unwrap() error { return e.error }

func TestFullDiskIsReportedAsSuch(t *testing.T) {
	var whole memory
	build(t, &whole, everything)
	for room := 0; room < 1<<20; room += 100_000 {
		w := NewWriter(&fullDisk{room: room}, testOptions)
		data, err := w.AddData(context.Background(), strings.NewReader(strings.Repeat("x", 1<<20)), 1<<20)
		if err == nil {
			root := dir()
			root.Children["f"] = file(data)
			err = w.Finish(context.Background(), root)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
}

func TestCancelledContextStopsTheWriter(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	w := NewWriter(&memory{}, testOptions)
	cancel()
	if _, err := w.AddData(ctx, zeroReader{}, 1<<40); !errors.Is(err, context.Canceled) {
		t.Errorf("AddData: %v", err)
	}
	if err := w.Finish(ctx, dir()); !errors.Is(err, context.Canceled) {
		t.Errorf("Finish: %v", err)
	}
}

func TestDataShorterThanAnnounced(t *testing.T) {
	w := NewWriter(&memory{}, testOptions)
	if _, err := w.AddData(context.Background(), strings.NewReader("abc"), 4); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v, want unexpected EOF", err)
	}
}
