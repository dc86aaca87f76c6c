package overlay

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

// memory is an image in memory.
type memory struct{ b []byte }

func (m *memory) WriteAt(p []byte, offset int64) (int, error) {
	if end := offset + int64(len(p)); end > int64(len(m.b)) {
		m.b = append(m.b, make([]byte, end-int64(len(m.b)))...)
	}
	return copy(m.b[offset:], p), nil
}

func (m *memory) Truncate(size int64) error {
	m.b = append(m.b, make([]byte, max(0, size-int64(len(m.b))))...)[:size]
	return nil
}

func (m *memory) Sync() error { return nil }

// spec is a file of a disk: a path ("/" at the end for directories), what it
// holds, and its attributes as "name=value". Content "whiteout" of a path is one.
type spec struct {
	path    string
	content string
	attrs   []string
}

const whiteout = "\x00whiteout"

// disk makes a Disk of specs, parents first.
func disk(t testing.TB, id byte, specs ...spec) Disk {
	t.Helper()
	var image memory
	w := ext4.NewWriter(&image, ext4.Options{UUID: [16]byte{id}})
	root := &ext4.Node{Mode: ext4.ModeDir | 0o755, Children: map[string]*ext4.Node{}}
	for _, s := range specs {
		n := &ext4.Node{Mode: ext4.ModeRegular | 0o644}
		switch {
		case strings.HasSuffix(s.path, "/"):
			n = &ext4.Node{Mode: ext4.ModeDir | 0o755, Children: map[string]*ext4.Node{}}
		case s.content == whiteout:
			n = &ext4.Node{Mode: ext4.ModeChar}
		default:
			data, err := w.AddData(context.Background(), strings.NewReader(s.content), int64(len(s.content)))
			if err != nil {
				t.Fatal(err)
			}
			n.Data = data
		}
		for _, a := range s.attrs {
			name, value, _ := strings.Cut(a, "=")
			if n.Xattrs == nil {
				n.Xattrs = make(map[string][]byte)
			}
			n.Xattrs[name] = []byte(value)
		}
		parts := strings.Split(strings.TrimSuffix(s.path, "/"), "/")
		dir := root
		for _, name := range parts[:len(parts)-1] {
			dir = dir.Children[name]
		}
		dir.Children[parts[len(parts)-1]] = n
	}
	if err := w.Finish(context.Background(), root); err != nil {
		t.Fatal(err)
	}
	fs, err := ext4.NewReader(bytes.NewReader(image.b), int64(len(image.b)))
	if err != nil {
		t.Fatal(err)
	}
	return Disk{FS: fs}
}

// merged lists the tar of a view: paths with "=content" of files and "[attributes]".
func merged(t testing.TB, disks ...Disk) (string, error) {
	t.Helper()
	v, err := Open(disks)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := Tar(context.Background(), v, &out); err != nil {
		return "", err
	}
	return listTar(t, &out), nil
}

func listTar(t testing.TB, r io.Reader) string {
	t.Helper()
	var lines []string
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		line := strings.TrimPrefix(hdr.Name, "./")
		switch hdr.Typeflag {
		case tar.TypeReg:
			b, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			line += "=" + string(b)
		case tar.TypeLink, tar.TypeSymlink:
			line += "->" + strings.TrimPrefix(hdr.Linkname, "./")
		}
		var attrs []string
		for key, value := range hdr.PAXRecords {
			if name, ok := strings.CutPrefix(key, xattrRecord); ok {
				attrs = append(attrs, name+"="+value)
			}
		}
		if slices.Sort(attrs); attrs != nil {
			line += fmt.Sprint(attrs)
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}

func TestDisksMergeAsOverlayfsDoes(t *testing.T) {
	const opaque, metacopy, redirect = xattrOpaque + "=y", xattrMetacopy + "=", xattrRedirect + "="
	for _, c := range []struct {
		name         string
		lower, upper []spec
		want         string
	}{
		{"files of both disks are there", []spec{{"a", "1", nil}}, []spec{{"b", "2", nil}}, "a=1 b=2"},
		{"the upper file wins", []spec{{"a", "1", nil}}, []spec{{"a", "2", nil}}, "a=2"},
		{"directories merge", []spec{{"d/", "", nil}, {"d/a", "1", nil}}, []spec{{"d/", "", nil}, {"d/b", "2", nil}}, "d/ d/a=1 d/b=2"},
		{"a whiteout hides", []spec{{"a", "1", nil}, {"b", "1", nil}}, []spec{{"a", whiteout, nil}}, "b=1"},
		{"a whiteout hides a directory", []spec{{"d/", "", nil}, {"d/a", "1", nil}}, []spec{{"d", whiteout, nil}}, ""},
		{"an opaque directory hides what is below", []spec{{"d/", "", nil}, {"d/a", "1", nil}}, []spec{{"d/", "", []string{opaque}}, {"d/b", "2", nil}}, "d/ d/b=2"},
		{"a directory hides a file", []spec{{"x", "1", nil}}, []spec{{"x/", "", nil}}, "x/"},
		{"a file hides a directory", []spec{{"x/", "", nil}, {"x/a", "1", nil}}, []spec{{"x", "2", nil}}, "x=2"},
		{"a directory renamed in its place finds its old entries",
			[]spec{{"old/", "", nil}, {"old/a", "1", nil}},
			[]spec{{"old", whiteout, nil}, {"new/", "", []string{redirect + "old"}}, {"new/b", "2", nil}}, "new/ new/a=1 new/b=2"},
		{"a directory moved elsewhere finds its old entries",
			[]spec{{"x/", "", nil}, {"x/old/", "", nil}, {"x/old/a", "1", nil}, {"y/", "", nil}},
			[]spec{{"x/", "", nil}, {"x/old", whiteout, nil}, {"y/", "", nil}, {"y/new/", "", []string{redirect + "/x/old"}}}, "x/ y/ y/new/ y/new/a=1"},
		{"copied-up metadata has the data below", []spec{{"a", "data", nil}}, []spec{{"a", "\x00\x00\x00\x00", []string{metacopy, "user.x=y"}}}, "a=data[user.x=y]"},
		{"moved metadata has the data of the old name",
			[]spec{{"a", "data", nil}}, []spec{{"a", whiteout, nil}, {"b", "\x00\x00\x00\x00", []string{metacopy, redirect + "/a"}}}, "b=data"},
		{"attributes of overlayfs stay out of sight", []spec{{"a", "1", []string{"user.k=v"}}}, []spec{{"d/", "", []string{xattrPrefix + "impure=y", "user.a=b"}}}, "a=1[user.k=v] d/[user.a=b]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := merged(t, disk(t, 1, c.lower...), disk(t, 2, c.upper...))
			if err != nil || got != c.want {
				t.Errorf("got  %s\nwant %s\n%v", got, c.want, err)
			}
		})
	}
}

func TestThreeDisks(t *testing.T) {
	got, err := merged(t,
		disk(t, 1, spec{"d/", "", nil}, spec{"d/a", "1", nil}, spec{"d/b", "1", nil}, spec{"gone", "1", nil}),
		disk(t, 2, spec{"d/", "", nil}, spec{"d/a", "2", nil}, spec{"gone", whiteout, nil}),
		disk(t, 3, spec{"d/", "", nil}, spec{"d/c", "3", nil}))
	if want := "d/ d/a=2 d/b=1 d/c=3"; err != nil || got != want {
		t.Errorf("got %s, want %s; %v", got, want, err)
	}
}

func TestOnlyADirectoryOfADisk(t *testing.T) {
	upper := disk(t, 2, spec{"upper/", "", nil}, spec{"upper/b", "2", nil}, spec{"work/", "", nil})
	upper.Dir = "upper"
	if got, err := merged(t, disk(t, 1, spec{"a", "1", nil}), upper); err != nil || got != "a=1 b=2" {
		t.Errorf("got %s, %v", got, err)
	}
	upper.Dir = "missing"
	if _, err := merged(t, upper); !errors.Is(err, ErrInvalid) {
		t.Errorf("missing directory: %v", err)
	}
}

func TestHostileUppersEnd(t *testing.T) {
	const metacopy, redirect = xattrMetacopy + "=", xattrRedirect + "="
	lower := []spec{{"d/", "", nil}, {"d/e/", "", nil}, {"a", "data", nil}}
	for name, upper := range map[string][]spec{
		"a redirect into itself":           {{"x/", "", []string{redirect + "/"}}},
		"two directories from one":         {{"x/", "", []string{redirect + "/d"}}, {"y/", "", []string{redirect + "/d"}}},
		"a redirect with a slash":          {{"x/", "", []string{redirect + "../d"}}},
		"two files from one":               {{"x", "\x00\x00\x00\x00", []string{metacopy, redirect + "/a"}}, {"y", "\x00\x00\x00\x00", []string{metacopy, redirect + "/a"}}},
		"metadata without data":            {{"z", "\x00\x00\x00\x00", []string{metacopy}}},
		"metadata of a file of other size": {{"a", "longer than data", []string{metacopy}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := merged(t, disk(t, 1, lower...), disk(t, 2, upper...)); !errors.Is(err, ErrInvalid) {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

func TestCancelledContextEndsAnExport(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	v, err := Open([]Disk{disk(t, 1, spec{"a", "1", nil})})
	if err != nil {
		t.Fatal(err)
	}
	if err := Tar(ctx, v, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
