// Package events is one log of what happens to containers, images and networks, which any number of processes append to and follow. It is for
// people and for programs that react; nothing in vzctl depends on an event having been written.
//
// The log is a file of JSON lines. When it is full it becomes <path>.1, in the place of the one before, so the two together hold at least the
// newest MaxBytes. Read follow.go for how followers get over that.
package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/core/lock"
)

// Event is something that happened.
type Event struct {
	Time time.Time `json:"time"`
	// Type is what it happened to ("container", "image", "network"), Action what happened ("create", "start", "die").
	Type   string `json:"type"`
	Action string `json:"action"`
	ID     string `json:"id"`
	Name   string `json:"name,omitempty"`
	// Attributes say more. No secrets: not the environment, not arguments.
	Attributes map[string]string `json:"attributes,omitempty"`
}

const (
	defaultMaxBytes = 8 << 20
	maxLine         = 64 << 10
)

// Log at a path. The zero MaxBytes is 8 MiB.
type Log struct {
	Path     string
	MaxBytes int64
}

// Append writes an event; a zero Time becomes now.
func (l Log) Append(ctx context.Context, e Event) (err error) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if len(line) >= maxLine {
		return fmt.Errorf("an event of %d bytes is too long for %q", len(line), l.Path)
	}
	held, err := lock.Acquire(ctx, l.Path+".lock")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	f, size, err := l.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	line = append(line, '\n')
	if torn, err := endsTorn(f, size); err != nil {
		return err
	} else if torn { // by a writer that died, or a full disk
		line = append([]byte{'\n'}, line...)
	}
	_, err = f.Write(line)
	return err
}

// open the log for appending, under its lock; one that is full is put aside first.
func (l Log) open() (*os.File, int64, error) {
	limit := l.MaxBytes
	if limit == 0 {
		limit = defaultMaxBytes
	}
	for {
		f, err := os.OpenFile(l.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, 0, err
		}
		info, err := f.Stat()
		if err == nil && info.Size() < limit {
			return f, info.Size(), nil
		}
		if err == nil {
			err = os.Rename(l.Path, l.Path+".1")
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, 0, err
		}
	}
}

func endsTorn(f *os.File, size int64) (torn bool, err error) {
	if size == 0 {
		return false, nil
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, size-1); err != nil && err != io.EOF {
		return false, err
	}
	return last[0] != '\n', nil
}
