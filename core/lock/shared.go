package lock

import (
	"context"

	"golang.org/x/sys/unix"
)

// AcquireShared waits for a shared lock of the file at path, which any number may hold while nobody has the exclusive one. It makes the file if
// it is missing.
func AcquireShared(ctx context.Context, path string) (*Lock, error) {
	return acquire(ctx, path, unix.LOCK_SH)
}
