package containerlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/core/lock"
)

// follow writes what a file gets until it has no writer any more: that one is gone, or has put the file aside.
func (r *player) follow(ctx context.Context, s *scanner) error {
	waiting, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- awaitWriter(waiting, r.path, r.current) }()
	defer func() {
		cancel()
		<-ended
	}()
	for {
		again, err := r.more.wait(ctx, ended)
		if err != nil {
			return err
		}
		if err := r.copy(ctx, s); err != nil || !again {
			return err
		}
	}
}

// awaitWriter returns when nobody writes a file any more.
func awaitWriter(ctx context.Context, path string, f *os.File) error {
	// A descriptor of its own, as a lock belongs to one.
	other, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mine, err := f.Stat()
	if err == nil {
		var present os.FileInfo
		if present, err = other.Stat(); err == nil && os.SameFile(mine, present) {
			return lock.AwaitFreeFile(ctx, other)
		}
	}
	return errors.Join(err, other.Close()) // it was put aside
}

// following returns the file that goes on after one without a writer, nil if there is none.
func following(f *os.File, path string) (*os.File, error) {
	present, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // the container was removed
	}
	if err != nil {
		return nil, err
	}
	mine, err := f.Stat()
	var now os.FileInfo
	if err == nil {
		now, err = present.Stat()
	}
	if err != nil || os.SameFile(mine, now) {
		return nil, errors.Join(err, present.Close())
	}
	all, err := aside(path)
	if errors.Is(err, os.ErrNotExist) {
		return present, nil // all of it is being removed
	}
	if err != nil {
		return nil, errors.Join(err, present.Close())
	}
	newer := all // if f itself was removed
	for i, other := range all {
		if same, err := sameFile(f, other.path); err != nil {
			return nil, errors.Join(err, present.Close())
		} else if same {
			newer = all[i+1:]
			break
		}
	}
	for _, other := range newer {
		next, err := os.OpenFile(other.path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		return next, errors.Join(err, present.Close())
	}
	return present, nil
}

// growth tells when there is more to read.
type growth struct {
	path    string
	watcher *fsnotify.Watcher
}

// watch the log's directory, as its files come and go.
func watch(path string) (*growth, error) {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = watcher.Add(filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("follow %q: %w", path, err)
	}
	return &growth{path: path, watcher: watcher}, nil
}

// wait returns true when there may be more, and false when ended says that there was no writer any more before the caller's next read.
func (g *growth) wait(ctx context.Context, ended chan error) (bool, error) {
	select {
	case err := <-ended:
		ended <- nil // for who waits for its end
		return false, err
	case <-ctx.Done():
		return false, ctx.Err()
	case err := <-g.watcher.Errors:
		if !errors.Is(err, fsnotify.ErrEventOverflow) {
			return false, fmt.Errorf("follow %q: %w", g.path, err)
		}
	case <-g.watcher.Events:
	}
	return true, nil
}

func (g *growth) close() error { return g.watcher.Close() }
