// Package private opens files that hold a guest's memory: they are their user's alone, or are not used.
package private

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Open opens a regular file of this user for reading that nobody else may read or write; not through a link. The caller closes it.
func Open(path string) (*os.File, fs.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !(info.Mode().IsRegular() && Own(info)) {
		err = fmt.Errorf("%s is not a file of this user alone", path)
	}
	if err != nil {
		_ = file.Close() // nothing was written
		return nil, nil, err
	}
	return file, info, nil
}

// Own says whether a file or directory is this user's, and nobody else may do anything with it.
func Own(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid() && info.Mode().Perm()&0o077 == 0
}
