// Package files is what the host may do with the files of a container beside its processes: find, read and write them (view.go, and guest/archive), tell what they
// have changed of the image (changes.go, layer.go), and hold their file system (hold.go). A container's own links and mounts may lead anywhere within it and nowhere
// else.
package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// View is a root as a container, or nobody but vminitd, sees it.
type View struct{ root *os.File }

// Open returns the view from a directory of the machine. The caller closes it.
func Open(path string) (View, error) {
	root, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	return View{root}, err
}

// Close ends the view; places that were found stay.
func (v View) Close() error { return v.root.Close() }

// Place is where a path leads to.
type Place struct {
	Dir  *os.Root // that it is in, to be closed by the caller
	Name string   // in it; "." for the directory itself
	Info fs.FileInfo
}

const (
	maxPath  = 4096 // as PATH_MAX of Linux
	maxLinks = 40   // as Linux follows
)

// Locate finds a path. Info is nil if there is nothing of that name in a directory that exists; a path that ends with a slash or a dot is of a directory. With follow a link at
// its end is followed, also to where nothing is.
func (v View) Locate(path string, follow bool) (Place, error) {
	if len(path) > maxPath || strings.ContainsRune(path, 0) {
		return Place{}, errors.New("no path is like that")
	}
	// Not made shorter: what ".." behind a link is depends on the link.
	path = "/" + path
	for range maxLinks {
		slash := strings.LastIndexByte(path, '/')
		parent, name := path[:slash+1], path[slash+1:]
		if name == "" || name == "." || name == ".." {
			parent, name = path, "."
		}
		dir, err := v.directory(parent)
		if err != nil {
			return Place{}, err
		}
		info, err := dir.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return Place{Dir: dir, Name: name}, nil
		}
		if err != nil {
			return Place{}, errors.Join(err, dir.Close())
		}
		if !follow || info.Mode()&fs.ModeSymlink == 0 {
			return Place{dir, name, info}, nil
		}
		target, err := dir.Readlink(name)
		if err := errors.Join(err, dir.Close()); err != nil {
			return Place{}, err
		}
		if path = target; !strings.HasPrefix(target, "/") {
			path = parent + target
		}
	}
	return Place{}, unix.ELOOP
}

// Mode is st_mode.
func Mode(info fs.FileInfo) (mode uint32, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return s.Mode, true
}

func (v View) directory(path string) (*os.Root, error) {
	fd, err := unix.Openat2(int(v.root.Fd()), path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: strings.TrimPrefix(path, "/"), Err: err}
	}
	dir, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", fd))
	return dir, errors.Join(err, unix.Close(fd))
}
