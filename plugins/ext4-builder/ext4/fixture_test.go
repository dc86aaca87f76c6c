package ext4

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/ext4-builder/image/imagetest"
)

var testOptions = Options{UUID: [16]byte{1, 2, 3}, HashSeed: [16]byte{9, 8, 7}, Label: "test"}

var testTime = time.Unix(1700000000, 123456789).UTC()

// memory is an Output, and what was put out.
type memory struct{ b []byte }

func (m *memory) WriteAt(p []byte, offset int64) (int, error) {
	if end := offset + int64(len(p)); end > int64(len(m.b)) {
		m.b = append(m.b, make([]byte, end-int64(len(m.b)))...)
	}
	return copy(m.b[offset:], p), nil
}

func (m *memory) Truncate(size int64) error {
	if grow := size - int64(len(m.b)); grow > 0 {
		m.b = append(m.b, make([]byte, grow)...)
	}
	m.b = m.b[:size]
	return nil
}

func (m *memory) Sync() error { return nil }

// build writes an image of what fill puts into the root directory.
func build(t testing.TB, out Output, fill func(add func(name string, n *Node), data func(content string) Data)) {
	t.Helper()
	w := NewWriter(out, testOptions)
	root := dir()
	fill(func(name string, n *Node) { root.Children[name] = n }, func(content string) Data {
		d, err := w.AddData(context.Background(), strings.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
	if err := w.Finish(context.Background(), root); err != nil {
		t.Fatal(err)
	}
}

func dir() *Node {
	return &Node{Mode: ModeDir | 0o755, ModTime: testTime, Children: map[string]*Node{}}
}

func file(data Data) *Node { return &Node{Mode: ModeRegular | 0o644, ModTime: testTime, Data: data} }

// imageFile creates an empty file for an image.
func imageFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "fs.img"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// debugfs runs commands on an image and returns what they print.
func debugfs(t testing.TB, path string, commands ...string) string {
	t.Helper()
	return runDebugfs(t, "-c", path, commands)
}

func runDebugfs(t testing.TB, mode, path string, commands []string) string {
	t.Helper()
	cmd := exec.Command(imagetest.E2fsprogs(t, "debugfs"), mode, "-f", "-", path)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("debugfs: %v\n%s", err, &stderr)
	}
	return string(out)
}

func openFile(t testing.TB, f *os.File) *Reader {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := NewReader(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// lookup walks to a path, through directories only.
func lookup(t testing.TB, fs *Reader, path string) *Inode {
	t.Helper()
	in, err := fs.Root()
	for _, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' }) {
		if err != nil {
			break
		}
		if in, err = fs.Lookup(in, name); err == nil && in == nil {
			err = fmt.Errorf("no entry %q", name)
		}
	}
	if err != nil {
		t.Fatalf("look up %q: %v", path, err)
	}
	return in
}

// content reads a whole regular file.
func content(t testing.TB, fs *Reader, path string) string {
	t.Helper()
	f, err := fs.Open(lookup(t, fs, path))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
