// Package hostpath checks paths that came from a plugin before anybody opens them: they lie under the directory the plugin was given, nothing on the way is a
// link, and what they name is a file or socket. The plugin may change them afterwards; it can do so with what it serves anyway.
package hostpath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/vzctl/vzctl/sdk/fault"
)

// File checks that path is a regular file under dir. Dir is the caller's own and may itself be reached by links.
func File(dir, path string) error {
	return check(dir, path, "regular file", fs.FileMode.IsRegular)
}

// Socket checks that path is a socket under dir.
func Socket(dir, path string) error {
	return check(dir, path, "socket", func(m fs.FileMode) bool { return m.Type() == fs.ModeSocket })
}

// Within checks that path would lie under dir; nothing need be there yet. Directories on the way must not be links.
func Within(dir, path string) error {
	return check(dir, path, "", nil)
}

func check(dir, path, want string, ok func(fs.FileMode) bool) error {
	refuse := func(cause error) error {
		return &fault.Error{Reason: fault.Invalid, Op: "use path of a plugin", Subject: path, Cause: cause}
	}
	if !filepath.IsAbs(dir) {
		return refuse(fmt.Errorf("the directory %q it should lie in is not absolute", dir))
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || strings.ContainsRune(path, 0) {
		return refuse(errors.New("it is not absolute and clean"))
	}
	rest, err := filepath.Rel(filepath.Clean(dir), path)
	if err != nil || rest == "." || !filepath.IsLocal(rest) {
		return refuse(fmt.Errorf("it does not lie under %q", dir))
	}
	parts := strings.Split(rest, string(filepath.Separator))
	at := filepath.Clean(dir)
	for i, part := range parts {
		at = filepath.Join(at, part)
		last := i == len(parts)-1
		info, err := os.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && ok == nil:
			return nil
		case errors.Is(err, fs.ErrNotExist):
			return &fault.Error{Reason: fault.NotFound, Op: "use path of a plugin", Subject: path, Cause: fs.ErrNotExist}
		case err != nil:
			return refuse(err)
		case info.Mode().Type() == fs.ModeSymlink:
			return refuse(fmt.Errorf("%q is a link", at))
		case !last && !info.IsDir():
			return refuse(fmt.Errorf("%q is no directory", at))
		case last && ok != nil && !ok(info.Mode()):
			return refuse(fmt.Errorf("it is no %s", want))
		}
	}
	return nil
}
