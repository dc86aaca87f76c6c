// Package copytree copies a directory with all that a file can be: owners, modes, times, attributes, hard links, links, special files.
package copytree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/idmap"
)

// FromRoot copies what a path of a container's root has in it to an existing directory, which gets its owner and mode. Links on the way to it lead within the root. Nothing is copied
// if there is no such directory. Nobody may change the root meanwhile. If it shows ids as a user namespace has them, ids are the maps, and the copy has what they are in it; nil: as they are.
func FromRoot(root, name, to string, ids *idmap.Maps) error {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	from, err := unix.Openat2(dir, path.Join("/", name), &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(from) }()
	c := copier{seen: map[inode]string{}, ids: ids}
	source := fmt.Sprintf("/proc/self/fd/%d", from)
	var stat unix.Stat_t
	if err := unix.Fstat(from, &stat); err != nil {
		return err
	}
	if err := c.children(source, to); err != nil {
		return err
	}
	return c.finish(source+"/.", to, stat)
}

type inode struct{ device, number uint64 }

// copier knows which files with several names it has copied, and where to.
type copier struct {
	seen map[inode]string
	ids  *idmap.Maps
}

func (c *copier) children(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := c.entry(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// entry copies one file, without following it.
func (c *copier) entry(from, to string) error {
	var stat unix.Stat_t
	if err := unix.Lstat(from, &stat); err != nil {
		return failed("look at", from, err)
	}
	id := inode{uint64(stat.Dev), stat.Ino}
	kind := stat.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && stat.Nlink > 1 {
		if first, copied := c.seen[id]; copied {
			return failed("link", to, unix.Link(first, to))
		}
		c.seen[id] = to
	}
	var err error
	switch kind {
	case unix.S_IFDIR:
		if err = unix.Mkdir(to, 0o700); err == nil {
			err = c.children(from, to)
		}
	case unix.S_IFREG:
		err = content(from, to)
	case unix.S_IFLNK:
		var target string
		if target, err = os.Readlink(from); err == nil {
			err = unix.Symlink(target, to)
		}
	default:
		err = unix.Mknod(to, stat.Mode, int(stat.Rdev))
	}
	if err != nil {
		return failed("copy", from, err)
	}
	return c.finish(from, to, stat)
}

// finish gives the copy what its content does not say.
func (c *copier) finish(from, to string, stat unix.Stat_t) error {
	uid, gid := c.ids.In(int(stat.Uid), int(stat.Gid))
	if err := unix.Lchown(to, uid, gid); err != nil {
		return failed("give owner to", to, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(to, stat.Mode&0o7777); err != nil {
			return failed("give mode to", to, err)
		}
	}
	if err := c.attributes(from, to); err != nil {
		return failed("give attributes to", to, err)
	}
	return failed("give times to", to, unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{stat.Atim, stat.Mtim}, unix.AT_SYMLINK_NOFOLLOW))
}

func content(from, to string) error {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// attributes copies extended ones, but those of the overlay, which are of the layers.
func (c *copier) attributes(from, to string) error {
	size, err := unix.Llistxattr(from, nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	names := make([]byte, size)
	if size, err = unix.Llistxattr(from, names); err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimRight(string(names[:size]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err := unix.Lgetxattr(from, name, value[:idmap.MaxValue])
		if errors.Is(err, unix.ERANGE) {
			n, err = unix.Lgetxattr(from, name, value)
		}
		if err == nil {
			err = unix.Lsetxattr(to, name, c.ids.InAttribute(name, value[:n]), 0)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func failed(what, name string, err error) error {
	if err == nil {
		return nil
	}
	if _, rest, below := strings.Cut(strings.TrimPrefix(name, "/proc/self/fd/"), "/"); below && strings.HasPrefix(name, "/proc/self/fd/") {
		name = rest // from where the copy began
	}
	return fmt.Errorf("%s %s: %w", what, name, err)
}
