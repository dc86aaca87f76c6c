package sockets

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/relay"
	"github.com/vzctl/vzctl/sdk/fault"
)

// A socket's address has 108 bytes, which real paths outgrow. So sockets are reached through descriptors of their directories, or of themselves, whose
// paths in /proc are short.

// listener is a socket that was made here.
type listener struct {
	*net.UnixListener
	dir    *os.File
	name   string
	device uint64
	inode  uint64
}

// listen makes a socket. It has its mode and owner before anybody can connect, and its name only when it is all done; nothing that is there is ever overwritten, and only a socket
// at which nobody listens any more is taken away.
func listen(s Socket) (l *listener, err error) {
	dir, err := os.Open(filepath.Dir(s.Host))
	if err != nil {
		return nil, err
	}
	l = &listener{dir: dir, name: filepath.Base(s.Host)}
	defer func() {
		if err != nil {
			_ = dir.Close()
		}
	}()
	if err := l.clear(); err != nil {
		return nil, err
	}
	temporary := temporaryName()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), s.Host)
	defer file.Close() // the listener has a copy
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: l.through(temporary)}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(int(dir.Fd()), temporary, 0)
		}
	}()
	if err := l.own(temporary, s); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return nil, err
	}
	made, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	l.UnixListener = made.(*net.UnixListener)
	l.SetUnlinkOnClose(false)
	err = unix.Renameat2(int(dir.Fd()), temporary, int(dir.Fd()), l.name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // a file system that cannot
		if err = unix.Linkat(int(dir.Fd()), temporary, int(dir.Fd()), l.name, 0); err == nil {
			err = unix.Unlinkat(int(dir.Fd()), temporary, 0)
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.UnixListener.Close())
	}
	return l, nil
}

// through is a short path of a name in the directory.
func (l *listener) through(name string) string {
	return "/proc/self/fd/" + strconv.Itoa(int(l.dir.Fd())) + "/" + name
}

// clear takes a socket away at which nobody listens, and refuses anything else.
func (l *listener) clear() error {
	var stat unix.Stat_t
	err := unix.Fstatat(int(l.dir.Fd()), l.name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return taken("there is something else, which is not a socket")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := dialAt(ctx, int(l.dir.Fd()), l.name)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return taken("somebody listens there")
	}
	return l.remove(stat.Dev, stat.Ino)
}

// remove takes the socket away that was seen to be abandoned. Somebody may have put another in its place meanwhile, which stays.
func (l *listener) remove(device, inode uint64) error {
	dir, aside := int(l.dir.Fd()), temporaryName()
	if err := unix.Renameat(dir, l.name, dir, aside); err != nil {
		return err
	}
	var stat unix.Stat_t
	if err := unix.Fstatat(dir, aside, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if stat.Dev == device && stat.Ino == inode {
		return unix.Unlinkat(dir, aside, 0)
	}
	return errors.Join(taken("somebody has just made it"), unix.Renameat2(dir, aside, dir, l.name, unix.RENAME_NOREPLACE))
}

func temporaryName() string { return ".vzctl-" + rand.Text() }

func taken(why string) error {
	return &fault.Error{Reason: fault.AlreadyExists, Cause: errors.New(why), Hint: "choose another path"}
}

// own gives the socket its mode and owner, and notes which it is. The owner comes first: to change it takes bits of the mode away. In a directory that others write to, the name may
// lead elsewhere by now, and is not trusted.
func (l *listener) own(name string, s Socket) error {
	fd, err := unix.Openat(int(l.dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK || int(stat.Uid) != os.Geteuid() {
		return errors.New("somebody has put something else in its place")
	}
	if s.UID != nil || s.GID != nil {
		uid, gid := -1, -1
		if s.UID != nil {
			uid = *s.UID
		}
		if s.GID != nil {
			gid = *s.GID
		}
		if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("give it to another: %w", err)
		}
	}
	l.device, l.inode = stat.Dev, stat.Ino
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), uint32(s.Mode.Perm()))
}

// close stops listening and takes the socket away, unless somebody has put something else there.
func (l *listener) close() error {
	err := l.UnixListener.Close()
	var stat unix.Stat_t
	statErr := unix.Fstatat(int(l.dir.Fd()), l.name, &stat, unix.AT_SYMLINK_NOFOLLOW)
	if statErr == nil && stat.Dev == l.device && stat.Ino == l.inode {
		if unlinkErr := unix.Unlinkat(int(l.dir.Fd()), l.name, 0); !errors.Is(unlinkErr, fs.ErrNotExist) {
			err = errors.Join(err, unlinkErr)
		}
	}
	return errors.Join(err, l.dir.Close())
}

// dial connects to a socket at a path of any length.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	return dialAt(ctx, unix.AT_FDCWD, path)
}

func dialAt(ctx context.Context, dir int, path string) (*net.UnixConn, error) {
	fd, err := unix.Openat(dir, path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	return relay.DialUnix(ctx, "/proc/self/fd/"+strconv.Itoa(fd))
}
