// Package cache keeps files that are made once and never change, under a key,
// in a directory that several processes use at once. A file appears under its
// key only when it is complete; a file being made has the suffix ".partial", is
// locked by its maker, and is taken over if that one died.
package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const partialSuffix = ".partial"

// Dir is a cache directory. It must exist, and belong to the user.
type Dir struct {
	Path string
	// Suffix ends the name of every file of the cache.
	Suffix string
}

// Entry is a file in the cache.
type Entry struct {
	Key  string
	Path string
	Info os.FileInfo
}

// path of a complete file. Keys are file names.
func (d Dir) path(key string) (string, error) {
	if key == "" || strings.ContainsAny(key, "/\x00") || strings.HasPrefix(key, ".") {
		return "", fmt.Errorf("cache key %q is not a file name", key)
	}
	return filepath.Join(d.Path, key+d.Suffix), nil
}

// Get returns the file of key, which make fills if there is none that valid
// accepts. Of several callers at once, in any process, one makes it and the others
// wait. made tells whether this one did. After an error nothing is left.
func (d Dir) Get(ctx context.Context, key string, valid func(path string) bool, make func(*os.File) error) (path string, made bool, err error) {
	path, err = d.path(key)
	if err != nil {
		return "", false, err
	}
	if valid(path) {
		return path, false, nil
	}
	partial, err := lockPartial(ctx, path+partialSuffix)
	if err != nil {
		return "", false, err
	}
	defer func() {
		if err != nil || !made {
			err = errors.Join(err, os.Remove(partial.Name()))
		}
		err = errors.Join(err, partial.Close()) // and the lock is gone
	}()
	if valid(path) { // made while this one waited
		return path, false, nil
	}
	if err := partial.Truncate(0); err != nil {
		return "", false, fmt.Errorf("make %q: %w", path, err)
	}
	if err := make(partial); err != nil {
		return "", false, err
	}
	if err := os.Rename(partial.Name(), path); err != nil {
		return "", false, err
	}
	return path, true, syncDir(d.Path)
}

// lockPartial opens the file to be filled and locks it. Whoever held the lock
// may have renamed or removed the file; then there is a new one to lock.
func lockPartial(ctx context.Context, path string) (*os.File, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lock(ctx, f); err != nil {
			return nil, err
		}
		held, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if now, err := os.Lstat(path); err == nil && os.SameFile(held, now) {
			return f, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// lock waits for the exclusive lock of f. If ctx ends first f is closed as soon
// as the kernel lets go of it.
func lock(ctx context.Context, f *os.File) error {
	locked := make(chan error, 1)
	go func() {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		for errors.Is(err, unix.EINTR) {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		locked <- err
	}()
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
		return fmt.Errorf("wait for %q, which another process makes: %w", f.Name(), ctx.Err())
	}
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// List returns the complete files in order of key.
func (d Dir) List() ([]Entry, error) {
	names, err := os.ReadDir(d.Path)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, n := range names {
		key, ok := strings.CutSuffix(n.Name(), d.Suffix)
		if !ok || key == "" || !n.Type().IsRegular() {
			continue
		}
		info, err := n.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, Entry{Key: key, Path: filepath.Join(d.Path, n.Name()), Info: info})
	}
	return entries, nil
}

// Delete removes the file of key; that there is none is no error. Whoever has it
// open keeps it.
func (d Dir) Delete(key string) error {
	path, err := d.path(key)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
