package containerlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/core/lock"
)

// Writer appends to a log. What Write has taken survives the death of the process, not of the host.
type Writer struct {
	path     string
	limits   Limits
	now      func() time.Time
	removing sync.WaitGroup // of what is too old

	mu     sync.Mutex
	held   *lock.Lock
	size   int64
	err    error // of an append whose remains could not be cut off
	unkept error // why the log could not be put aside when it was full, the last time
}

// Create opens the log at path for appending, making it if it is missing. What a writer before, which died, left half written is completed or
// cut off. There is one writer at a time; Create waits for another until ctx ends.
func Create(ctx context.Context, path string, limits Limits) (*Writer, error) {
	held, err := lock.Acquire(ctx, path)
	if err != nil {
		return nil, err
	}
	size, err := soundSize(held.File(), path)
	if err == nil {
		err = held.File().Truncate(size)
	}
	if err == nil {
		_, err = held.File().Seek(size, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), held.Close())
	}
	return &Writer{path: path, limits: limits.orDefaults(), held: held, now: time.Now, size: size}, nil
}

// soundSize returns where the last whole record ends.
func soundSize(f *os.File, path string) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	in := bufio.NewReaderSize(io.NewSectionReader(f, 0, info.Size()), 1<<20)
	var at int64
	for {
		b, err := in.Peek(headerSize)
		if err == io.EOF {
			return at, nil
		}
		if err != nil {
			return 0, err
		}
		h, ok := decodeHeader(b)
		if !ok {
			return 0, &CorruptError{path, at}
		}
		next := at + headerSize + int64(h.length)
		if next > info.Size() {
			return at, nil
		}
		if _, err := in.Discard(headerSize + h.length); err != nil {
			return 0, err
		}
		at = next
	}
}

// Write appends p as it is, with one system call for each MiB. It returns once the kernel has p; p may be used again.
func (w *Writer) Write(stream Stream, p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	for len(p) > 0 {
		piece := p[:min(len(p), maxPiece)]
		if w.size+headerSize+int64(len(piece)) > w.limits.MaxBytes {
			piece = w.fit(piece)
		}
		if err := w.append(stream, piece); err != nil {
			return n, err
		}
		n += len(piece)
		p = p[len(piece):]
	}
	return n, nil
}

func (w *Writer) append(stream Stream, piece []byte) error {
	var head [headerSize]byte
	header{stream, len(piece), w.now()}.encode(&head)
	pieces := [][]byte{head[:], piece}
	f := w.held.File()
	want, written := headerSize+len(piece), 0
	for written < want {
		n, err := unix.Writev(int(f.Fd()), pieces)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			// The disk is full, most likely. Half a record would spoil what comes after it.
			_, seek := f.Seek(w.size, io.SeekStart)
			if undo := errors.Join(f.Truncate(w.size), seek); undo != nil {
				w.err = fmt.Errorf("append to log: %w", errors.Join(err, undo))
			}
			return fmt.Errorf("append to log: %w", err)
		}
		written += n
		for n > 0 { // what is left of the two
			take := min(n, len(pieces[0]))
			pieces[0], n = pieces[0][take:], n-take
			if len(pieces[0]) == 0 {
				pieces = pieces[1:]
			}
		}
	}
	w.size += int64(want)
	return nil
}

// Sync returns once all that Write has taken survives the host.
func (w *Writer) Sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.held.File().Sync()
	if err == nil {
		err = syncAside(w.path)
	}
	if err != nil {
		return fmt.Errorf("write log to the disk: %w", err)
	}
	return nil
}

// Stream returns a writer to one stream. It may be used together with others.
func (w *Writer) Stream(stream Stream) io.Writer { return streamWriter{w, stream} }

type streamWriter struct {
	w      *Writer
	stream Stream
}

func (s streamWriter) Write(p []byte) (int, error) { return s.w.Write(s.stream, p) }

// Size of the log's present file in bytes.
func (w *Writer) Size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}

// Close ends the log; followers end when they have read all. The error may be that the log is longer than it may be.
func (w *Writer) Close() error {
	w.removing.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.unkept, w.held.Close())
}
