package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vzctl/vzctl/sdk/fault"
)

// maxBlob is larger than any disk, in bytes, and far from overflowing.
const maxBlob = 1 << 50

// Write brings a blob into the layout, unless it is there, and returns how many bytes it read from the reader that open gives. Of several
// writers of one blob, in any process, one reads and the others wait for it. progress, which may be nil, is told the bytes so far. The
// reader is closed. After an error nothing is left.
func (d Dir) Write(ctx context.Context, of ocispec.Descriptor, open func(context.Context) (io.ReadCloser, error), progress func(done int64)) (read int64, err error) {
	path, err := d.Blob(of.Digest)
	if err != nil {
		return 0, err
	}
	if of.Size < 0 || of.Size > maxBlob {
		return 0, &fault.Error{Reason: fault.Invalid, Op: "write blob", Subject: of.Digest.String(), Cause: fmt.Errorf("size %d", of.Size)}
	}
	if have, err := d.Has(of); err != nil || have {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return 0, pathError("write blob", of.Digest.String(), err)
	}
	partial, err := d.lockPartial(ctx, of.Digest)
	if err != nil {
		return 0, err
	}
	done := false
	defer func() {
		if !done {
			err = errors.Join(err, os.Remove(partial.Name()))
		}
		err = errors.Join(err, partial.Close()) // and the lock is gone
	}()
	if have, err := d.Has(of); err != nil || have { // written while this one waited
		return 0, err
	}
	source, err := open(ctx)
	if err != nil {
		return 0, err
	}
	read, err = fill(ctx, partial, of, source, progress)
	if closeErr := source.Close(); err == nil && closeErr != nil {
		err = closeErr
	}
	if err != nil {
		return read, err
	}
	if err := os.Rename(partial.Name(), path); err != nil {
		return read, pathError("write blob", of.Digest.String(), err)
	}
	done = true
	return read, nil
}

// WriteDocument brings a small blob that is in memory into the layout.
func (d Dir) WriteDocument(ctx context.Context, of ocispec.Descriptor, raw []byte) error {
	_, err := d.Write(ctx, of, func(context.Context) (io.ReadCloser, error) { return memory(raw), nil }, nil)
	return err
}

// fill copies exactly what the descriptor describes into f and onto the disk.
func fill(ctx context.Context, f *os.File, of ocispec.Descriptor, source io.Reader, progress func(int64)) (read int64, err error) {
	// The blob is read once: while one chunk is hashed, the next is read and written.
	sum := startHash(of)
	defer sum.stop()
	flush := writeback{file: f}
	rest := io.LimitReader(source, of.Size+1) // one more than described, to notice that there is more
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return read, err
		}
		buf := <-sum.free
		n, err := readChunk(rest, buf)
		read += int64(n)
		more = err == nil
		if err != nil && !errors.Is(err, io.EOF) {
			return read, err
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return read, pathError("write blob", of.Digest.String(), err)
		}
		sum.work <- buf[:n]
		flush.written(read)
		if progress != nil {
			progress(min(read, of.Size))
		}
	}
	got := sum.stop()
	if read != of.Size {
		if read > of.Size {
			return read, &fault.Error{Reason: fault.DigestMismatch, Op: "check blob", Subject: of.Digest.String(),
				Cause: fmt.Errorf("has more than the %d bytes the manifest says", of.Size), Hint: "the image is damaged at its source"}
		}
		return read, sizeMismatch(of, read)
	}
	if got != of.Digest {
		return read, digestMismatch(of, got)
	}
	// A blob is believed by its name and size later, so its bytes must be on the disk before it has the name.
	if err := f.Sync(); err != nil {
		return read, pathError("write blob", of.Digest.String(), err)
	}
	return read, nil
}

// readChunk fills buf, unless the source ends or fails first.
func readChunk(source io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = source.Read(buf[n:])
		n += m
	}
	return n, err
}
