package archive

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/guest/idmap"
	"golang.org/x/sys/unix"
)

const nonblock = unix.O_NONBLOCK

type fileID struct{ device, inode uint64 }

type fileStat struct {
	id           fileID
	links        uint64
	owner        Owner
	major, minor uint32
}

func statOf(info fs.FileInfo) fileStat {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileStat{}
	}
	return fileStat{id: fileID{s.Dev, s.Ino}, links: uint64(s.Nlink), owner: Owner{int(s.Uid), int(s.Gid)},
		major: unix.Major(s.Rdev), minor: unix.Minor(s.Rdev)}
}

// Limits of what is read of a file's extended attributes, in bytes; Linux has the same for one.
const (
	maxXattrs     = 256
	maxXattrBytes = 64 << 10
)

// kept are the extended attributes that mean the same wherever a file is.
func kept(name string) bool {
	return strings.HasPrefix(name, "user.") || slices.Contains([]string{"security.capability", "system.posix_acl_access", "system.posix_acl_default"}, name)
}

func xattrsOf(f *os.File) (attrs map[string]string, err error) {
	list := make([]byte, maxXattrBytes)
	n, err := unix.Flistxattr(int(f.Fd()), list)
	if errors.Is(err, unix.ENOTSUP) || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "list extended attributes", Path: f.Name(), Err: err}
	}
	value := make([]byte, maxXattrBytes)
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if !kept(name) || len(attrs) == maxXattrs {
			continue
		}
		n, err := unix.Fgetxattr(int(f.Fd()), name, value[:idmap.MaxValue])
		if errors.Is(err, unix.ERANGE) {
			n, err = unix.Fgetxattr(int(f.Fd()), name, value)
		}
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "read extended attribute " + name, Path: f.Name(), Err: err}
		}
		if attrs == nil {
			attrs = map[string]string{}
		}
		attrs[name] = string(value[:n])
	}
	return attrs, nil
}

func setXattr(f *os.File, name, value string) error {
	return unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0)
}

// isPseudo reports whether a file's size says nothing about its content.
func isPseudo(f *os.File) bool {
	var s unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &s) != nil {
		return false
	}
	return slices.Contains([]int64{unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC}, int64(s.Type))
}

// maxSegments bounds the map of a file's holes; what is behind the last goes as data.
const maxSegments = 1 << 14

// segments returns nil if the file has no holes.
func segments(f *os.File, info fs.FileInfo) []Segment {
	size := info.Size()
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || size == 0 || s.Blocks*blockSize >= size {
		return nil
	}
	all := []Segment{}
	for at := int64(0); at < size; {
		begin, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return all // a hole to the end
		}
		if err != nil {
			return nil // a file system that does not know: all is data
		}
		if begin >= size {
			break
		}
		end, err := unix.Seek(int(f.Fd()), begin, unix.SEEK_HOLE)
		if err != nil || end <= begin || len(all) == maxSegments {
			end = size
		}
		all = append(all, Segment{begin, min(end, size) - begin})
		at = end
	}
	if len(all) == 1 && all[0] == (Segment{0, size}) {
		return nil
	}
	return all
}

// setTime sets the time of last modification.
func setTime(f *os.File, at time.Time) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(at.UnixNano())}
	if at.Year() < 1700 || at.Year() > 2250 { // beyond nanoseconds in 64 bits
		times[1] = unix.Timespec{Sec: at.Unix()}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, pathOf(f), times, 0)
}

// pathOf names what a descriptor is of, whatever has become of its own name, and whether or not it can be read. A link that it is of is not followed.
func pathOf(f *os.File) string { return "/proc/self/fd/" + strconv.FormatUint(uint64(f.Fd()), 10) }

var errReplaced = errors.New("it was replaced meanwhile")

// settleNode gives a link, a device or a FIFO that was just made its owner, if there is to be another, its mode, which a link has none of, and its time. Whoever may
// write to the directory can have put something else in its place, which gets nothing: what was just made belongs to maker.
func settleNode(dir *os.Root, name string, h *tar.Header, owner *Owner, mode fs.FileMode, maker int) (err error) {
	parent, err := dir.Open(".")
	if err != nil {
		return err
	}
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err = errors.Join(err, parent.Close()); err != nil {
		return err
	}
	node := os.NewFile(uintptr(fd), name)
	defer func() { err = errors.Join(err, node.Close()) }()
	var is unix.Stat_t
	if err := unix.Fstat(fd, &is); err != nil {
		return err
	}
	want := uint32(unix.S_IFLNK)
	if h.Typeflag != tar.TypeSymlink {
		want = specialMode(h.Typeflag)
	}
	rdev := uint64(0)
	if want == unix.S_IFCHR || want == unix.S_IFBLK {
		rdev = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	}
	// A link that keeps its owner gets nothing but a time. It may be another's: some file systems do not let root be root.
	mine := int(is.Uid) == maker || want == unix.S_IFLNK && owner == nil
	if is.Mode&unix.S_IFMT != want || is.Rdev != rdev || is.Nlink != 1 || !mine {
		return errReplaced
	}
	if owner != nil {
		err = unix.Fchownat(unix.AT_FDCWD, pathOf(node), owner.UID, owner.GID, 0)
	}
	if h.Typeflag != tar.TypeSymlink {
		err = errors.Join(err, os.Chmod(pathOf(node), mode))
	}
	return errors.Join(err, setTime(node, h.ModTime))
}

// makeSpecial makes a FIFO or a device node.
func makeSpecial(dir *os.Root, name string, kind byte, major, minor uint32) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(unix.Mknodat(int(f.Fd()), name, specialMode(kind)|0o600, int(unix.Mkdev(major, minor))), f.Close())
}

func specialMode(kind byte) uint32 {
	switch kind {
	case tar.TypeChar:
		return unix.S_IFCHR
	case tar.TypeBlock:
		return unix.S_IFBLK
	}
	return unix.S_IFIFO
}
