package disk

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// sparse makes a file of 64 MiB with two pieces of data.
func sparse(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "from")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, at := range []int64{0, 32<<20 + 5} {
		if _, err := file.WriteAt(bytes.Repeat([]byte("data"), 10_000), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestACopyIsTheSameAndHasTheHoles(t *testing.T) {
	from := sparse(t)
	to := filepath.Join(t.TempDir(), "to")
	if _, err := Copy(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	want, wantErr := os.ReadFile(from)
	got, err := os.ReadFile(to)
	if err := errors.Join(wantErr, err); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the copy differs, %v", err)
	}
	info, err := os.Stat(to)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 || info.Sys().(*syscall.Stat_t).Blocks*512 > 4<<20 {
		t.Errorf("mode %v, %d blocks", info.Mode(), info.Sys().(*syscall.Stat_t).Blocks)
	}
}

func TestACopyThatFailsLeavesNothing(t *testing.T) {
	from := sparse(t)
	to := filepath.Join(t.TempDir(), "to")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Copy(ctx, from, to); err == nil {
		t.Skip("the file system shares content, which takes no time")
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
	if err := os.WriteFile(to, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), from, to); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a copy over a file: %v", err)
	}
	if got, err := os.ReadFile(to); string(got) != "precious" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
