package sparse

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func punchHole(f *os.File, offset, length int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return writeZeros(f, offset, length)
	}
	return err
}

// startWriteback is a hint: errors of writing back are reported by Sync.
func startWriteback(f *os.File, offset, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
}
