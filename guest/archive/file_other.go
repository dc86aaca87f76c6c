//go:build !linux

package archive

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

const nonblock = syscall.O_NONBLOCK

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
	return fileStat{id: fileID{uint64(s.Dev), s.Ino}, links: uint64(s.Nlink), owner: Owner{int(s.Uid), int(s.Gid)}}
}

// Guests are Linux; of a host that is not, extended attributes, holes and special files are left.

func xattrsOf(*os.File) (map[string]string, error)             { return nil, nil }
func setXattr(*os.File, string, string) error                  { return errors.ErrUnsupported }
func isPseudo(*os.File) bool                                   { return false }
func segments(*os.File, fs.FileInfo) []Segment                 { return nil }
func makeSpecial(*os.Root, string, byte, uint32, uint32) error { return errors.ErrUnsupported }

func setTime(f *os.File, at time.Time) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	times := []syscall.Timeval{syscall.NsecToTimeval(info.ModTime().UnixNano()), syscall.NsecToTimeval(at.UnixNano())} // the first is of access, which nobody keeps
	return syscall.Futimes(int(f.Fd()), times)
}

// settleNode gives a link its owner; it has no mode, and keeps its time.
func settleNode(dir *os.Root, name string, h *tar.Header, owner *Owner, _ fs.FileMode, _ int) error {
	if owner == nil {
		return nil
	}
	return dir.Lchown(name, owner.UID, owner.GID)
}
