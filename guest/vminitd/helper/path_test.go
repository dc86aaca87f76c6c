package helper

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestFromOutsideNothingIsOpenedButAFile has what a hostile container may put in the place of its /etc/passwd.
func TestFromOutsideNothingIsOpenedButAFile(t *testing.T) {
	for name, test := range map[string]struct {
		make func(dir string) error
		want error
	}{
		"a file": {func(dir string) error {
			return os.WriteFile(dir+"/etc/passwd", []byte("root:x:0:0::/root:/bin/sh\n"), 0o644)
		}, nil},
		"nothing":     {func(dir string) error { return nil }, nil},
		"a directory": {func(dir string) error { return os.Mkdir(dir+"/etc/passwd", 0o755) }, ErrIndirect},
		"a FIFO":      {func(dir string) error { return unix.Mkfifo(dir+"/etc/passwd", 0o644) }, ErrIndirect},
		"a device": {func(dir string) error {
			return unix.Mknod(dir+"/etc/passwd", unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5)))
		}, ErrIndirect},
		"a large file": {func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/etc/passwd", nil, 0o644), os.Truncate(dir+"/etc/passwd", maxRegular+1))
		}, ErrIndirect},
		"the kernel's log": {func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/proc", 0o755), unix.Mount("proc", dir+"/proc", "proc", 0, ""), os.Symlink("/proc/kmsg", dir+"/etc/passwd"))
		}, ErrIndirect},
		"a file on which somebody has a lease": {func(dir string) error {
			file, err := os.OpenFile(dir+"/etc/passwd", os.O_CREATE|os.O_RDWR, 0o644)
			if err == nil {
				_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
			}
			t.Cleanup(func() { _ = file.Close() })
			return err
		}, unix.EAGAIN},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Cleanup(func() { _ = unix.Unmount(filepath.Join(dir, "proc"), unix.MNT_DETACH) })
			if err := errors.Join(os.Mkdir(dir+"/etc", 0o755), test.make(dir)); err != nil {
				t.Fatal(err)
			}
			at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Close(at) }()
			looked := make(chan error, 1)
			go func() {
				_, err := lookUp(func(path string) (io.ReadCloser, error) { return openDatabase(root(at), path) }, "", nil, specs.User{})
				looked <- err
			}()
			select {
			case err := <-looked:
				if !errors.Is(err, test.want) {
					t.Errorf("error %v; want %v", err, test.want)
				}
			case <-time.After(20 * time.Second):
				t.Error("it waits")
			}
		})
	}
}

func TestALineOfMillionsOfFieldsIsALine(t *testing.T) {
	allocated := testing.AllocsPerRun(1, func() {
		if _, err := findAccount("", specs.User{}, strings.NewReader("x"+strings.Repeat(":", maxRegular)+"\nroot:x:0:0::/home:\n"), strings.NewReader("")); err != nil {
			t.Error(err)
		}
	})
	if allocated > 1000 {
		t.Errorf("%v allocations", allocated)
	}
	entries := 0
	err := eachEntry(strings.NewReader("a:b:c:d:e:f:g:h:i\n"), 4, func(entry []string) bool {
		entries++
		if len(entry) != 4 || entry[3] != "d" {
			t.Errorf("fields %q", entry)
		}
		return true
	})
	if err != nil || entries != 1 {
		t.Errorf("%d entries, %v", entries, err)
	}
}
