package sparse

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestPunchedRangeReadsAsZeros(t *testing.T) {
	for name, punch := range map[string]func(*File, int64, int64) error{
		"with holes":    (*File).PunchHole,
		"without holes": func(f *File, offset, length int64) error { return writeZeros(f.File, offset, length) },
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := os.Create(filepath.Join(t.TempDir(), "file"))
			if err != nil {
				t.Fatal(err)
			}
			f := NewFile(raw)
			content := bytes.Repeat([]byte("x"), 3*writebackUnit)
			if _, err := f.WriteAt(content, 0); err != nil {
				t.Fatal(err)
			}
			if err := punch(f, 4096, writebackUnit+5); err != nil {
				t.Fatal(err)
			}
			clear(content[4096 : 4096+writebackUnit+5])
			if got, err := os.ReadFile(raw.Name()); err != nil || !bytes.Equal(got, content) {
				t.Errorf("content differs, %v", err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestFileOfHolesOccupiesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<30); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != 1<<30 || Allocated(info) > 1<<20 {
		t.Errorf("%d bytes, %d on disk, %v", info.Size(), Allocated(info), err)
	}
}
