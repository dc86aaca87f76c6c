package disk

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// clone has the file system share the content, if it can.
func clone(to, from *os.File) error { return unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) }

// nextData returns where the next data at or after an offset begin and end; io.EOF if there are none.
func nextData(file *os.File, at int64) (begin, end int64, err error) {
	begin, err = unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return 0, 0, io.EOF
	}
	if err == nil {
		end, err = unix.Seek(int(file.Fd()), begin, unix.SEEK_HOLE)
	}
	return begin, end, err
}
