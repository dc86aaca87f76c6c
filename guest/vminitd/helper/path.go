package helper

import (
	"errors"
	"fmt"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// Everything below is used once the container's root is the process's, or with a descriptor of it. Links of the image then cannot lead out of it, save those of procfs, which
// are refused.
const inRoot = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// root is a container's, by a descriptor.
type root int

// own is that of a process that is in the container's root.
const own root = unix.AT_FDCWD

// openIn opens a path of the container.
func openIn(name string, flags int, mode uint32) (int, error) { return own.open(name, flags, mode) }

// maxTries is how often a path is looked for whose directories are being renamed. A file on which somebody has a lease is as good as one that cannot be opened.
const maxTries = 128

func (r root) open(name string, flags int, mode uint32) (fd int, err error) {
	for range maxTries {
		fd, err = unix.Openat2(int(r), path.Join("/", name),
			&unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Mode: uint64(mode), Resolve: inRoot})
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return fd, err
}

// maxRegular bounds the files that are read for a container from outside of it, in bytes.
const maxRegular = 1 << 20

// regular opens a file for reading, from outside of the container: nobody could end a process that waits for it, nothing limits what it uses, and no filter of devices
// holds it back. So it opens nothing but what surely is a file, of a file system that answers.
func (r root) regular(name string) (fd int, err error) {
	at, err := r.open(name, unix.O_PATH, 0)
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, unix.Close(at)) }()
	var stat unix.Stat_t
	var on unix.Statfs_t
	if err := errors.Join(unix.Fstat(at, &stat), unix.Fstatfs(at, &on)); err != nil {
		return -1, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Size > maxRegular {
		return -1, ErrIndirect
	}
	switch on.Type {
	case unix.EXT4_SUPER_MAGIC, unix.EROFS_SUPER_MAGIC_V1, unix.OVERLAYFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.V9FS_MAGIC:
	default:
		return -1, ErrIndirect
	}
	return unix.Open("/proc/self/fd/"+strconv.Itoa(at), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// directory opens a directory of the container, making what is missing.
func directory(name string) (int, error) { return own.directory(name) }

func (r root) directory(name string) (int, error) {
	name = path.Join("/", name)
	fd, err := r.open(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if !errors.Is(err, unix.ENOENT) || name == "/" {
		return fd, err
	}
	parent, err := r.directory(path.Dir(name))
	if err != nil {
		return -1, err
	}
	err = unix.Mkdirat(parent, path.Base(name), 0o755)
	if err := errors.Join(err, unix.Close(parent)); err != nil {
		return -1, err // also a link to nowhere
	}
	return r.open(name, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// maxLinks is how many links to nowhere are followed, as in the kernel.
const maxLinks = 40

// file opens a file of the container without reading it. A missing one is made; if the image has a link to a place that does not exist (as is usual for
// resolv.conf), there.
func file(name string) (int, error) {
	name = path.Join("/", name)
	for range maxLinks {
		fd, err := openIn(name, unix.O_PATH, 0)
		if !errors.Is(err, unix.ENOENT) {
			return fd, err
		}
		parent, err := directory(path.Dir(name))
		if err != nil {
			return -1, err
		}
		made, err := unix.Openat(parent, path.Base(name), unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o644)
		if err == nil {
			return made, unix.Close(parent)
		}
		link, linkErr := readlink(parent, path.Base(name))
		if closeErr := unix.Close(parent); !errors.Is(err, unix.EEXIST) || linkErr != nil || closeErr != nil {
			return -1, errors.Join(err, linkErr, closeErr)
		}
		if path.IsAbs(link) {
			name = path.Join("/", link)
		} else {
			name = path.Join("/", path.Dir(name), link)
		}
	}
	return -1, unix.ELOOP
}

func readlink(dir int, name string) (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buffer)
	if err != nil {
		return "", fmt.Errorf("read link %s: %w", name, err)
	}
	return string(buffer[:n]), nil
}
