package cage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// inCage runs a program below root, and returns how it ended.
func inCage(ctx context.Context, t *testing.T, root, program string) unix.WaitStatus {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root makes cages")
	}
	dir, err := enclose(root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	s, err := script(dir, null, program)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := s.Run(ctx, nil)
	if pid <= 0 {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil && ctx.Err() == nil {
		t.Fatal(err)
	}
	return status
}

// The cage is this machine's root directory, where all that a shell can do without a process of its own is tried.
func TestAProgramInItsCageCanDoNothing(t *testing.T) {
	outside := t.TempDir()
	if err := os.Chmod(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(outside); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	device := filepath.Join(outside, "null")
	if err := errors.Join(unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), os.Chmod(device, 0o666)); err != nil && os.Getuid() == 0 {
		t.Fatal(err)
	}
	written := filepath.Join(outside, "written")
	for name, test := range map[string]struct {
		script string
		code   int
		signal unix.Signal
	}{
		"it runs":                              {"exit 7", 7, 0},
		"it reads files":                       {"read -r line < /etc/passwd && [ -n \"$line\" ]", 0, 0},
		"its output leads nowhere":             {"echo hello; echo hello >&2; read -r x; [ -z \"$x\" ]", 0, 0},
		"it is nobody":                         {"[ ! -r /etc/shadow ] && [ ! -w / ]", 0, 0},
		"it writes no file":                    {": > " + written, 2, 0},
		"it writes to no file that there is":   {": >> /etc/passwd", 2, 0},
		"it opens no device":                   {": < " + device, 2, 0},
		"nothing is mounted in it":             {"[ ! -e /proc/self ]", 0, 0},
		"it makes no process":                  {"/bin/true; exit 7", -1, unix.SIGSYS},
		"it signals nobody":                    {"kill -0 1; exit 7", -1, unix.SIGSYS},
		"it leaves its directory to nobody":    {"cd /etc; exit 7", -1, unix.SIGSYS},
		"it changes no limit of its own":       {"ulimit -n 1000000 && exit 7; exit 3", 3, 0},
		"it becomes another program in a cage": {"exec /bin/sh -c 'exec /bin/sh -c \"kill -0 1\"'", -1, unix.SIGSYS},
	} {
		t.Run(name, func(t *testing.T) {
			program := filepath.Join(outside, "program")
			if err := os.WriteFile(program, []byte("#!/bin/sh\n"+test.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			if status := inCage(t.Context(), t, "/", program); status.ExitStatus() != test.code || test.signal != 0 && status.Signal() != test.signal {
				t.Errorf("it ended with code %d, signal %v", status.ExitStatus(), status.Signal())
			}
			if _, err := os.Stat(written); err == nil {
				t.Error("it has written a file")
			}
		})
	}
}
