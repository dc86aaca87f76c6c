package events

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// Read calls each with the events there are since a time, oldest first.
func (l Log) Read(since time.Time, each func(Event) error) error {
	r := reader{since: since, each: each}
	for _, path := range []string{l.Path + ".1", l.Path} {
		if err := r.open(path); err != nil {
			return err
		}
		if err := r.drain(); err != nil {
			return err
		}
	}
	return r.close()
}

// Follow calls each with the events there are since a time and then with each new one, in order, until ctx ends or each fails, and returns why. A
// zero time means new ones only.
func (l Log) Follow(ctx context.Context, since time.Time, each func(Event) error) (err error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("follow %q: %w", l.Path, err)
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	// The directory, for the log may be put aside and made anew.
	if err := watcher.Add(filepath.Dir(l.Path)); err != nil {
		return fmt.Errorf("follow %q: %w", l.Path, err)
	}
	r := reader{since: since, each: each}
	defer func() { err = errors.Join(err, r.close()) }()
	if since.IsZero() {
		err = errors.Join(r.open(l.Path), r.skip())
	} else {
		err = r.open(l.Path + ".1")
	}
	if err != nil {
		return err
	}
	for {
		if err := r.catchUp(l.Path); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-watcher.Errors:
			// An overflow loses notifications, not events: reading on finds them.
			if !errors.Is(e, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("follow %q: %w", l.Path, e)
			}
		case <-watcher.Events:
		}
	}
}

// reader reads one file after another.
type reader struct {
	file  *os.File
	lines *bufio.Reader
	part  []byte // of a line that is still being written
	long  bool   // the line is too long to be an event
	since time.Time
	each  func(Event) error
}

// open goes on with the file at path, if there is one.
func (r *reader) open(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return r.close()
	}
	if err != nil {
		return err
	}
	err = r.close()
	r.file, r.lines = f, bufio.NewReaderSize(f, 32<<10)
	return err
}

func (r *reader) close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file, r.lines, r.part, r.long = nil, nil, nil, false
	return err
}

// skip what the file holds now. A line half written is not skipped by half: its rest is no JSON.
func (r *reader) skip() error {
	if r.file == nil {
		return nil
	}
	_, err := r.file.Seek(0, io.SeekEnd)
	return err
}

// catchUp reads to the end of the file at path. If that is another than the one being read, that one comes first: it was put aside, and who
// does that writes no more to it.
func (r *reader) catchUp(path string) error {
	for {
		now, err := os.Lstat(path)
		if err := r.drain(); err != nil {
			return err
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.file != nil {
			mine, err := r.file.Stat()
			if err != nil || os.SameFile(mine, now) {
				return err
			}
		}
		if err := r.open(path); err != nil {
			return err
		}
	}
}

func (r *reader) drain() error {
	if r.file == nil {
		return nil
	}
	for {
		piece, err := r.lines.ReadSlice('\n')
		if len(r.part)+len(piece) > maxLine {
			r.long, r.part = true, nil
		} else if !r.long {
			r.part = append(r.part, piece...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		line, long := bytes.TrimSpace(r.part), r.long
		r.part, r.long = r.part[:0], false
		var e Event
		// A line that is no event is the trace of a writer that died.
		if long || len(line) == 0 || json.Unmarshal(line, &e) != nil || e.Time.Before(r.since) {
			continue
		}
		if err := r.each(e); err != nil {
			return err
		}
	}
}
