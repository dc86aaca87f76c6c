// Package lock keeps processes apart with advisory locks on files (flock). The kernel drops a lock when its holder dies, however it dies, so
// asking a lock whether someone lives needs no process id. It does not order readers and writers of data; see the package store for that.
package lock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrHeld is returned by Try if another holds the lock.
var ErrHeld = errors.New("locked by another process")

// Lock is a held lock.
type Lock struct{ file *os.File }

// Acquire waits for the exclusive lock of the file at path, which it makes if it is missing, until ctx ends. If the file's directory
// disappears meanwhile the error is os.ErrNotExist.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	return acquire(ctx, path, unix.LOCK_EX)
}

func acquire(ctx context.Context, path string, how int) (*Lock, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("wait for the lock %q: %w", path, err)
		}
		f, err := open(path)
		if err != nil {
			return nil, err
		}
		if err := wait(ctx, f, how); err != nil {
			return nil, err
		}
		same, err := stillThere(f, path)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if same {
			return &Lock{f}, nil
		}
		// Whoever held it has removed the file; another may have made a new one.
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// Try takes the exclusive lock of the file at path, or returns ErrHeld at once. Processes that only ask ([Held]) are not in its way.
func Try(path string) (*Lock, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	if err := try(int(f.Fd())); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %q: %w", path, err), f.Close())
	}
	return &Lock{f}, nil
}

// try tells who asks from who holds: beside one who asks, and has the lock shared for an instant, a shared lock is to be had.
func try(fd int) error {
	for begun := time.Now(); ; {
		err := flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if err := flock(fd, unix.LOCK_SH|unix.LOCK_NB); err != nil {
			if errors.Is(err, unix.EWOULDBLOCK) {
				return ErrHeld
			}
			return err
		}
		if err := flock(fd, unix.LOCK_UN); err != nil {
			return err
		}
		if time.Since(begun) > askingPatience {
			return ErrHeld
		}
		// One who asks may have lost its processor while it has the lock. Waiting for it in flock could end up waiting for one who holds.
		time.Sleep(askingPause)
	}
}

// An asker has the lock for some microseconds; one who has it longer shares it for real, and is in the way.
const (
	askingPause    = 20 * time.Microsecond
	askingPatience = 200 * time.Millisecond
)

// Held reports whether a process, this one included, holds the exclusive lock of the file at path. It neither waits nor makes the file.
func Held(path string) (held bool, err error) {
	// Without the poller of package os, which cannot watch files anyway: a list of containers asks a thousand times.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "open", Path: path, Err: err}
	}
	// Shared, so that any number may ask at once.
	err = flock(fd, unix.LOCK_SH|unix.LOCK_NB)
	held = errors.Is(err, unix.EWOULDBLOCK)
	if held {
		err = nil
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return false, &os.PathError{Op: "ask lock", Path: path, Err: err}
	}
	return held, nil
}

// AwaitFree returns when nobody holds the lock of the file at path, or there is no such file, or ctx ends.
func AwaitFree(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return AwaitFreeFile(ctx, f)
}

// AwaitFreeFile is AwaitFree of an open file, which may have another name by now, or none. It takes f over and closes it.
func AwaitFreeFile(ctx context.Context, f *os.File) error {
	if err := wait(ctx, f, unix.LOCK_SH); err != nil {
		return err
	}
	return f.Close()
}

// Close lets go of the lock. The file stays.
func (l *Lock) Close() error { return l.file.Close() }

// File returns the locked file. It belongs to the lock: a process that inherits it holds the lock too.
func (l *Lock) File() *os.File { return l.file }

func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
}

// wait for a lock of f. After an error f is closed, or will be as soon as the kernel lets go of it: flock cannot be interrupted.
func wait(ctx context.Context, f *os.File, how int) error {
	err := flock(int(f.Fd()), how|unix.LOCK_NB)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return errors.Join(fmt.Errorf("lock %q: %w", f.Name(), err), f.Close())
	}
	locked := make(chan error, 1)
	go func() { locked <- flock(int(f.Fd()), how) }()
	select {
	case err := <-locked:
		if err != nil {
			return errors.Join(fmt.Errorf("lock %q: %w", f.Name(), err), f.Close())
		}
		return nil
	case <-ctx.Done():
		go func() {
			<-locked
			_ = f.Close() // opened for the lock only
		}()
		return fmt.Errorf("wait for the lock %q: %w", f.Name(), ctx.Err())
	}
}

func flock(fd, how int) error {
	for {
		err := unix.Flock(fd, how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func stillThere(f *os.File, path string) (bool, error) {
	held, err := f.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(held, now), err
}
