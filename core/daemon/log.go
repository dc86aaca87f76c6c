package daemon

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// maxLog bounds the file that a daemon logs to, in bytes. One that is full becomes <path>.1, in the place of the one before.
const maxLog = 4 << 20

// openLog opens a daemon's log for appending, and puts one that is full aside.
func openLog(path string, limit int64) (*os.File, int64, error) {
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, 0, err
		}
		info, err := f.Stat()
		if err == nil && info.Size() < limit {
			return f, info.Size(), nil
		}
		if err == nil {
			err = os.Rename(path, path+".1")
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, 0, err
		}
	}
}

// Log is what a daemon writes its messages to: its stderr, which Start has made the end of a file. When that is full another takes its place, as stdout and stderr of
// the process too, where a crash of it would be told.
type Log struct {
	path  string
	limit int64

	mu   sync.Mutex
	size int64
}

// NewLog is called in the daemon, once, with the path that its starter gave.
func NewLog(path string) *Log {
	l := &Log{path: path, limit: maxLog}
	if info, err := os.Stderr.Stat(); err == nil {
		l.size = info.Size()
	}
	return l
}

// Write writes to stderr. A log that cannot be put aside goes on.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := os.Stderr.Write(p)
	if l.size += int64(n); l.size >= l.limit && l.same() {
		l.size = 0 // what fails is tried again when as much has been written
		if f, size, err := openLog(l.path, l.limit); err == nil {
			l.size = size
			_ = errors.Join(replace(f, 1), replace(f, 2), f.Close()) // if it fails, they are what they were
		}
	}
	return n, err
}

// Redirect has the log, stdout and stderr go to a file at the log's path.
func (l *Log) Redirect(f *os.File) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	l.size = info.Size()
	return errors.Join(replace(f, 1), replace(f, 2))
}

// same reports whether the log is stderr: somebody may run a daemon by hand.
func (l *Log) same() bool {
	mine, err := os.Stderr.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(l.path)
	return err == nil && os.SameFile(mine, there)
}

func replace(f *os.File, fd int) error { return duplicate(int(f.Fd()), fd) }
