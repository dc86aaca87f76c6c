// Package disk copies disk images that are mostly holes, and has them on the disk of the host.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Sync returns when all that was written to a file is on the disk.
func Sync(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// Copy makes a file, for its user alone, with the content of another, which nobody writes to meanwhile. Holes stay holes. It is on the disk when Copy returns, with the bytes that were copied; after an error
// there is no such file.
func Copy(ctx context.Context, from, to string) (copied int64, err error) {
	return copyFile(ctx, from, to, (*os.File).Sync)
}

// CopyUnsynced is as Copy, but if the host fails soon the copy is incomplete.
func CopyUnsynced(ctx context.Context, from, to string) (copied int64, err error) {
	return copyFile(ctx, from, to, func(*os.File) error { return nil })
}

func copyFile(ctx context.Context, from, to string, sync func(*os.File) error) (copied int64, err error) {
	source, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	copied, err = content(ctx, source, target)
	if err == nil {
		err = sync(target)
	}
	if err = errors.Join(err, target.Close()); err == nil {
		return copied, nil
	}
	reason := fault.Unavailable
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		reason = fault.NoSpace
	}
	return 0, errors.Join(&fault.Error{Reason: reason, Op: "copy disk to", Subject: to, Cause: err}, os.Remove(to))
}

func content(ctx context.Context, from, to *os.File) (copied int64, err error) {
	info, err := from.Stat()
	if err != nil {
		return 0, err
	}
	if clone(to, from) == nil {
		return 0, nil
	}
	if err := to.Truncate(info.Size()); err != nil {
		return 0, err
	}
	for at := int64(0); at < info.Size(); {
		begin, end, err := nextData(from, at)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return copied, fmt.Errorf("find data: %w", err)
		}
		n, err := io.Copy(io.NewOffsetWriter(to, begin), &reader{ctx, io.NewSectionReader(from, begin, end-begin)})
		if copied += n; err != nil {
			return copied, err
		}
		at = end
	}
	return copied, nil
}

// reader ends with its context.
type reader struct {
	ctx  context.Context
	from io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}
