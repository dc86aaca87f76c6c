package private

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestOnlyAFileOfThisUserAloneIsOpened(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, mode os.FileMode) error {
		if err := os.WriteFile(at(name), []byte("memory"), 0o600); err != nil {
			return err
		}
		return os.Chmod(at(name), mode)
	}
	tests := []struct {
		name string
		make func(name string) error
		good bool
	}{
		{"of this user alone", func(name string) error { return write(name, 0o600) }, true},
		{"read by a group", func(name string) error { return write(name, 0o640) }, false},
		{"written by others", func(name string) error { return write(name, 0o602) }, false},
		{"link", func(name string) error { return os.Symlink(at("of this user alone"), at(name)) }, false},
		{"directory", func(name string) error { return os.Mkdir(at(name), 0o700) }, false},
		{"FIFO", func(name string) error { return syscall.Mkfifo(at(name), 0o600) }, false},
		{"missing", func(string) error { return nil }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := test.make(test.name); err != nil {
				t.Fatal(err)
			}
			file, info, err := Open(at(test.name))
			if (err == nil) != test.good {
				t.Fatalf("error %v", err)
			}
			if err == nil && (info.Size() != 6 || file.Close() != nil) {
				t.Errorf("%d bytes", info.Size())
			}
		})
	}
}
