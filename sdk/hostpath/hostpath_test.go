package hostpath_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hostpath"
)

func TestPathsOfAPlugin(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(t.TempDir(), "given")
	must(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o700))
	must(t, os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "sub", "file"), nil, 0o600))
	must(t, os.Symlink(outside, filepath.Join(dir, "link")))
	must(t, os.Symlink(filepath.Join(dir, "sub", "file"), filepath.Join(dir, "link-to-file")))
	must(t, os.Symlink(dir, dir+"-by-link"))
	short, err := os.MkdirTemp("/tmp", "hp")
	must(t, err)
	defer os.RemoveAll(short)
	socket, err := net.Listen("unix", filepath.Join(short, "s"))
	must(t, err)
	defer socket.Close()

	for _, c := range []struct {
		name, dir, path string
		check           func(dir, path string) error
		refusal         string
	}{
		{"a file under the directory is taken", dir, dir + "/sub/file", hostpath.File, ""},
		{"a file is taken when the caller's own directory is a link", dir + "-by-link", dir + "-by-link/sub/file", hostpath.File, ""},
		{"a socket is taken", short, short + "/s", hostpath.Socket, ""},
		{"a path where nothing is yet is within", dir, dir + "/sub/later", hostpath.Within, ""},
		{"a file that is not there is not found", dir, dir + "/sub/later", hostpath.File, "file does not exist"},
		{"a file is no socket", dir, dir + "/sub/file", hostpath.Socket, "no socket"},
		{"a socket is no file", short, short + "/s", hostpath.File, "no regular file"},
		{"a directory is no file", dir, dir + "/sub", hostpath.File, "no regular file"},
		{"the directory itself is refused", dir, dir, hostpath.File, "does not lie under"},
		{"a file elsewhere is refused", dir, outside + "/secret", hostpath.File, "does not lie under"},
		{"a directory with the same beginning is elsewhere", dir, dir + "-by-link/sub/file", hostpath.File, "does not lie under"},
		{"a link to a file is refused", dir, dir + "/link-to-file", hostpath.File, "is a link"},
		{"a link on the way is refused", dir, dir + "/link/secret", hostpath.File, "is a link"},
		{"a link on the way to nothing yet is refused", dir, dir + "/link/later", hostpath.Within, "is a link"},
		{"a way through a file is refused", dir, dir + "/sub/file/x", hostpath.File, "no directory"},
		{"dots are refused", dir, dir + "/sub/../sub/file", hostpath.File, "not absolute and clean"},
		{"a relative path is refused", dir, "sub/file", hostpath.File, "not absolute and clean"},
		{"an empty path is refused", dir, "", hostpath.File, "not absolute and clean"},
		{"a NUL is refused", dir, dir + "/a\x00b", hostpath.File, "not absolute and clean"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.check(c.dir, c.path)
			switch {
			case c.refusal == "" && err != nil:
				t.Error(err)
			case c.refusal != "" && (err == nil || !strings.Contains(err.Error(), c.refusal)):
				t.Errorf("error is %v, without %q", err, c.refusal)
			case c.refusal != "" && !errors.Is(err, fault.Invalid) && !errors.Is(err, fault.NotFound):
				t.Errorf("reason is %q", fault.ReasonOf(err))
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
