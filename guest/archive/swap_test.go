package archive_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/archive"
)

// meanwhile reads a tar, header by header, and does something once before the content of its last file is read.
type meanwhile struct {
	from io.Reader
	at   int // in the tar
	then int // where do is called
	do   func()
}

func (m *meanwhile) Read(p []byte) (int, error) {
	if m.at >= m.then && m.do != nil {
		m.do()
		m.do = nil
	}
	n, err := m.from.Read(p[:min(len(p), 512)])
	m.at += n
	return n, err
}

// Whoever may write to the directory can put another file in the place of the one that is being made.
func TestAFileThatIsPutInItsPlaceGetsNoRights(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(t.TempDir(), "victim")
	must(t, os.WriteFile(victim, []byte("secret"), 0o600))
	before, err := os.Stat(victim)
	must(t, err)
	from := &meanwhile{from: bytes.NewReader(entries(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 77, Gid: 78, Size: 4})), then: 512, do: func() {
		made, err := filepath.Glob(filepath.Join(dir, ".vzctl-*"))
		if err != nil || len(made) != 1 {
			t.Fatal(made, err)
		}
		must(t, os.Remove(made[0]), os.Link(victim, made[0]))
	}}
	_ = archive.Extract(t.Context(), open(t, dir), from, archive.ExtractOptions{Owners: os.Getuid() == 0, Xattr: all})
	after, err := os.Stat(victim)
	must(t, err)
	if after.Mode() != before.Mode() || statUID(after) != statUID(before) || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the other file has mode %v, user %d and time %s", after.Mode(), statUID(after), after.ModTime())
	}
	if from.do != nil {
		t.Error("nothing was swapped")
	}
}

func TestADirectoryThatBecomesAFIFOIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	from := &meanwhile{from: bytes.NewReader(entries(t, tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644, Size: 4})), then: 1024, do: func() {
		must(t, os.Remove(filepath.Join(dir, "d")), unix.Mkfifo(filepath.Join(dir, "d"), 0o600))
	}}
	if err := archive.Extract(t.Context(), open(t, dir), from, archive.ExtractOptions{Xattr: all}); err == nil {
		t.Error("a FIFO is taken for the directory that was there")
	}
}

func statUID(info os.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
