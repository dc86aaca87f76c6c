package layout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// lockPartial opens the empty file in which a blob is to be written, and locks it. It waits while another writes the same blob.
func (d Dir) lockPartial(ctx context.Context, of digest.Digest) (*os.File, error) {
	path := filepath.Join(d.Path, ingestDir, of.Algorithm().String()+"-"+of.Encoded())
	for {
		f, err := d.createPartial(path, of)
		if err != nil {
			return nil, pathError("write blob", of.String(), err)
		}
		if err := lock(ctx, f); err != nil {
			return nil, err
		}
		// Whoever held it may have given it its final name, or removed it.
		same, err := stillThere(f, path)
		if err == nil && same {
			err = f.Truncate(0) // what a writer who died has left
			if err == nil {
				return f, nil
			}
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, pathError("write blob", of.String(), err)
		}
	}
}

// createPartial also makes the directories, the first time.
func (d Dir) createPartial(path string, of digest.Digest) (*os.File, error) {
	const flags = os.O_RDWR | os.O_CREATE | unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := os.OpenFile(path, flags, fileMode)
	if !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return nil, err
	}
	return os.OpenFile(path, flags, fileMode)
}

// lock waits for the exclusive lock of f. After an error f is closed, or will be once the kernel lets go of it: flock cannot be interrupted.
func lock(ctx context.Context, f *os.File) error {
	err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return errors.Join(fmt.Errorf("lock %q: %w", f.Name(), err), f.Close())
	}
	locked := make(chan error, 1)
	go func() { locked <- flock(f, unix.LOCK_EX) }()
	select {
	case err := <-locked:
		if err != nil {
			return errors.Join(fmt.Errorf("lock %q: %w", f.Name(), err), f.Close())
		}
		return nil
	case <-ctx.Done():
		go func() {
			<-locked
			_ = f.Close() // nothing was written
		}()
		return fmt.Errorf("wait for another process that pulls the same blob: %w", ctx.Err())
	}
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
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

// clean removes partial blobs that nobody holds the lock of.
func (d Dir) clean() error {
	entries, err := os.ReadDir(filepath.Join(d.Path, ingestDir))
	if err != nil {
		return pathError("clean", d.Path, err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := cleanOne(filepath.Join(d.Path, ingestDir, e.Name())); err != nil {
			return pathError("clean", d.Path, err)
		}
	}
	return nil
}

func cleanOne(path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // finished meanwhile
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil // it is being written
		}
		return err
	}
	// Only under the lock: between looking and removing, a finished blob may have been moved away and a new one begun.
	if same, err := stillThere(f, path); err != nil || !same {
		return err
	}
	return os.Remove(path)
}
