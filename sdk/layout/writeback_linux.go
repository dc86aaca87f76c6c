package layout

import (
	"os"

	"golang.org/x/sys/unix"
)

// writebackStep is how many bytes are handed to the disk at once.
const writebackStep = 8 << 20

// writeback starts writing to the disk while the rest is still coming, so that the final fsync finds little to do.
type writeback struct {
	file    *os.File
	started int64
}

func (w *writeback) written(upTo int64) {
	if upTo-w.started < writebackStep {
		return
	}
	// It is a hint: some file systems do not know it, and the fsync at the end reports what failed.
	_ = unix.SyncFileRange(int(w.file.Fd()), w.started, upTo-w.started, unix.SYNC_FILE_RANGE_WRITE)
	w.started = upTo
}
