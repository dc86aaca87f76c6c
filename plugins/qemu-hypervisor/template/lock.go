package template

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockSuffix ends the name of the file whose lock the maker of a template holds.
const lockSuffix = ".lock"

// Await returns when nobody is making the template any more, or ctx ends.
func (s Store) Await(ctx context.Context, key string) error {
	lock, err := os.OpenFile(filepath.Join(s.dir, key+lockSuffix), os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	got := make(chan error, 1)
	go func() { // ends with the maker, whose time is bounded; the lock ends with the file
		got <- errors.Join(unix.Flock(int(lock.Fd()), unix.LOCK_SH), lock.Close())
	}()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lock takes the lock of a key. busy says that somebody else has it; then there is no error.
func (s Store) lock(key string) (lock *os.File, busy bool, err error) {
	for {
		lock, err = os.OpenFile(filepath.Join(s.dir, key+lockSuffix), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, false, err
		}
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !removed(lock) {
			break
		}
		_ = lock.Close() // it was removed meanwhile, and says nothing of who makes the template now
	}
	if err == nil {
		return lock, false, nil
	}
	_ = lock.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, true, nil
	}
	return nil, false, err
}

func removed(file *os.File) bool {
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Nlink == 0
}

// removeLock removes the lock of a key that has no template, unless somebody makes it.
func (s Store) removeLock(key string) error {
	if !validKey(key) {
		return nil
	}
	lock, busy, err := s.lock(key)
	if busy || err != nil {
		return err
	}
	if _, statErr := os.Lstat(filepath.Join(s.dir, key)); errors.Is(statErr, fs.ErrNotExist) {
		err = gone(os.Remove(lock.Name()))
	}
	return errors.Join(err, lock.Close())
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
