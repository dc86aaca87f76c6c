// Package frames divides a direction of a connection that lasts into frames, so that an end that was meant is told from a connection that was lost: a length in
// four bytes, big endian, and as many bytes; length 0 is the end. Both sides use it, see FilesRequest in agent.proto.
package frames

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Max is how long a frame may be, in bytes.
const Max = 1 << 20

// bufferSize is how much a Writer gathers: tars have many small pieces.
const bufferSize = 128 << 10

// Writer makes frames of what is written to it. It is not safe for use by several goroutines.
type Writer struct {
	w      io.Writer
	buffer []byte // its first four bytes are for the length
}

// NewWriter returns a writer of frames to w.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w, buffer: make([]byte, 4, 4+bufferSize)}
}

// Write sends p, or keeps it until there is more.
func (w *Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if len(w.buffer) == cap(w.buffer) {
			if err := w.flush(); err != nil {
				return n, err
			}
		}
		part := p[:min(len(p), cap(w.buffer)-len(w.buffer))]
		w.buffer = append(w.buffer, part...)
		p, n = p[len(part):], n+len(part)
	}
	return n, nil
}

func (w *Writer) flush() error {
	if len(w.buffer) == 4 {
		return nil
	}
	binary.BigEndian.PutUint32(w.buffer, uint32(len(w.buffer)-4))
	_, err := w.w.Write(w.buffer)
	w.buffer = w.buffer[:4]
	return err
}

// Close sends what is left, and the end.
func (w *Writer) Close() error {
	if err := w.flush(); err != nil {
		return err
	}
	_, err := w.w.Write(make([]byte, 4))
	return err
}

// Reader reads what is in frames. It takes no byte behind the end.
type Reader struct {
	r    io.Reader
	left int // of this frame
	err  error
}

// NewReader returns a reader of the frames of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Read returns io.EOF at the end that was sent, and io.ErrUnexpectedEOF where r ends before.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	if r.left == 0 {
		if r.err = r.next(); r.err != nil {
			return 0, r.err
		}
	}
	n, err := r.r.Read(p[:min(len(p), r.left)])
	r.left -= n
	if err != nil {
		r.err = lost(err)
		if n > 0 {
			return n, nil
		}
	}
	return n, r.err
}

func (r *Reader) next() error {
	var size [4]byte
	if _, err := io.ReadFull(r.r, size[:]); err != nil {
		return lost(err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > Max {
		return fmt.Errorf("frame of %d bytes, at most %d", n, Max)
	}
	if n == 0 {
		return io.EOF
	}
	r.left = int(n)
	return nil
}

func lost(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Err is why nothing more is read: io.EOF at the end, nil if there is more.
func (r *Reader) Err() error { return r.err }

// Drain reads to the end, and returns nil if there was one.
func (r *Reader) Drain() error {
	_, err := io.Copy(io.Discard, r)
	return err
}
