package lock

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// TryShared takes a shared lock of the file at path, or returns ErrHeld at once if another has it alone.
func TryShared(path string) (*Lock, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	err = flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrHeld
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %q: %w", path, err), f.Close())
	}
	return &Lock{f}, nil
}

// AcquireShared waits for a shared lock of the file at path, which any number may hold while nobody has the exclusive one. It makes the file if
// it is missing.
func AcquireShared(ctx context.Context, path string) (*Lock, error) {
	return acquire(ctx, path, unix.LOCK_SH)
}
