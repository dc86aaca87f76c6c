package template

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// identity is what tells a file from another, and from itself after a change. The owner can forge a time of modification, but not that of a change.
type identity struct {
	Device, Inode     uint64
	Size              int64
	Modified, Changed int64 // nanoseconds since 1970
}

func identify(info fs.FileInfo) identity {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}
	}
	return identity{Device: uint64(stat.Dev), Inode: stat.Ino, Size: stat.Size, Modified: info.ModTime().UnixNano(), Changed: changed(stat)}
}

// own wants the store to be this user's: who can write to its directory can put one template in the place of another. It gives fs.ErrNotExist if there is none.
func (s Store) own() error {
	info, err := os.Stat(s.dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not this user's alone", s.dir)
	}
	return nil
}
