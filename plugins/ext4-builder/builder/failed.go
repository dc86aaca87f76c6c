package builder

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/ext4-builder/ext4"
	"github.com/vzctl/vzctl/plugins/ext4-builder/image"
	"github.com/vzctl/vzctl/plugins/ext4-builder/layers"
	"github.com/vzctl/vzctl/plugins/ext4-builder/overlay"
	"github.com/vzctl/vzctl/sdk/fault"
)

// failed puts an error of the packages below into the vocabulary of sdk/fault. dir is what may have run out of space. That the caller
// went away is no failure of ours and stays as it is.
func failed(op, subject, dir string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := &fault.Error{Reason: reasonOf(err), Op: op, Subject: subject, Cause: err}
	switch e.Reason {
	case fault.NoSpace:
		e.Hint = "free some space in \"" + dir + "\" and try again"
	case fault.DigestMismatch, fault.NotFound:
		if errors.Is(err, image.ErrNotFound) || e.Reason == fault.DigestMismatch {
			e.Hint = "remove the image and pull it again"
		}
	}
	return e
}

func reasonOf(err error) fault.Reason {
	var mismatch *layers.DigestError
	switch {
	case errors.As(err, &mismatch):
		return fault.DigestMismatch
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fault.NoSpace
	case errors.Is(err, layers.ErrUnsupported), errors.Is(err, ext4.ErrUnsupported):
		return fault.Unsupported
	case errors.Is(err, layers.ErrInvalid), errors.Is(err, ext4.ErrInvalid), errors.Is(err, ext4.ErrCorrupt), errors.Is(err, overlay.ErrInvalid):
		return fault.Invalid
	case errors.Is(err, image.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return fault.NotFound
	case errors.Is(err, fs.ErrExist):
		return fault.AlreadyExists
	case errors.Is(err, fs.ErrPermission):
		return fault.PermissionDenied
	}
	return fault.Internal
}
