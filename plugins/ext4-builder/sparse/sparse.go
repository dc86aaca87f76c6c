// Package sparse makes files with holes on whatever file system the host has.
package sparse

import "os"

// writebackUnit is how much is written before the disk is put to work on it.
const writebackUnit = 8 << 20

// File is a file for images: it can free ranges of itself (see
// ext4.HolePuncher) and starts writing to the disk while it is filled, so that
// Sync at the end has little left to do.
type File struct {
	*os.File
	pending     int64 // bytes since the last writeback was started
	pendingFrom int64
}

// NewFile wraps f, which stays the caller's to close. The result is for one goroutine.
func NewFile(f *os.File) *File { return &File{File: f} }

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(p []byte, offset int64) (int, error) {
	n, err := f.File.WriteAt(p, offset)
	if f.pending == 0 || offset != f.pendingFrom+f.pending {
		f.pendingFrom, f.pending = offset, 0
	}
	if f.pending += int64(n); f.pending >= writebackUnit && err == nil {
		startWriteback(f.File, f.pendingFrom, f.pending)
		f.pending = 0
	}
	return n, err
}

// PunchHole frees length bytes from offset on; they read as zeros afterwards.
// Where the file system has no holes, zeros are written.
func (f *File) PunchHole(offset, length int64) error { return punchHole(f.File, offset, length) }

// Allocated returns how many bytes a file occupies on the host's disk.
func Allocated(info os.FileInfo) int64 { return allocated(info) }

// writeZeros is for file systems that cannot punch holes.
func writeZeros(f *os.File, offset, length int64) error {
	zeros := make([]byte, min(length, 1<<20))
	for length > 0 {
		n, err := f.WriteAt(zeros[:min(length, int64(len(zeros)))], offset)
		if err != nil {
			return err
		}
		offset, length = offset+int64(n), length-int64(n)
	}
	return nil
}
