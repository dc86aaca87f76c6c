package containerlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/core/lock"
)

// Options of Replay.
type Options struct {
	// Follow waits for more until the log has no writer.
	Follow bool
	// Tail leaves out all but so many lines at the end of what is there, both streams counted together; negative: all.
	Tail int
	// Since leaves out what came before.
	Since time.Time
}

// Replay writes what a log holds to stdout and stderr, in the order in which it came; a nil one is left out. A record that is not complete,
// because its writer died, is written as far as it goes. Without Follow it ends at the end that the log has when it comes there. A log that is
// missing is os.ErrNotExist.
func Replay(ctx context.Context, path string, options Options, stdout, stderr io.Writer) (err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// The watch begins before the reading, so that nothing falls in between.
	var more *growth
	if options.Follow {
		g, err := watch(ctx, path)
		if err != nil {
			return err
		}
		more = g
		defer func() { _ = g.close() }() // it was only watched
	}
	skip := 0
	if options.Tail >= 0 {
		lines, err := countLines(f, path, options.Since)
		if err != nil {
			return err
		}
		skip = max(0, lines-options.Tail)
	}
	s := &scanner{path: path, in: bufio.NewReaderSize(f, 256<<10), since: options.Since}
	out := [...]io.Writer{Stdout: stdout, Stderr: stderr}
	for {
		stream, piece, err := s.next()
		switch {
		case err == io.EOF:
			if more == nil {
				return nil
			}
			again, err := more.wait(ctx)
			if err != nil {
				return err
			}
			if !again {
				more = nil // the writer is gone: what is there now is all
			}
			continue
		case err != nil:
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		for skip > 0 && len(piece) > 0 {
			end := bytes.IndexByte(piece, '\n')
			if end < 0 {
				piece = nil
				break
			}
			piece, skip = piece[end+1:], skip-1
		}
		if w := out[stream]; w != nil && len(piece) > 0 {
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
	}
}

// countLines of what is there. A last line without an end counts.
func countLines(f *os.File, path string, since time.Time) (int, error) {
	s := &scanner{path: path, in: bufio.NewReaderSize(f, 256<<10), since: since}
	lines, open := 0, false
	for {
		_, piece, err := s.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		if len(piece) > 0 {
			lines += bytes.Count(piece, []byte{'\n'})
			open = piece[len(piece)-1] != '\n'
		}
	}
	if open {
		lines++
	}
	_, err := f.Seek(0, io.SeekStart)
	return lines, err
}

// scanner takes a log apart. It can go on after io.EOF if the log has grown.
type scanner struct {
	path  string
	in    *bufio.Reader
	since time.Time

	at   int64  // of the present record
	now  header // of which so many bytes are still to come:
	left int
}

// next returns bytes of one stream, valid until the next call. There is no error but io.EOF, one of reading and *CorruptError.
func (s *scanner) next() (Stream, []byte, error) {
	if s.left == 0 {
		b, err := s.in.Peek(headerSize)
		if err != nil {
			return 0, nil, err
		}
		h, ok := decodeHeader(b)
		if !ok {
			return 0, nil, &CorruptError{s.path, s.at}
		}
		_, _ = s.in.Discard(headerSize) // has been peeked
		s.now, s.left = h, h.length
	}
	if s.in.Buffered() == 0 {
		if _, err := s.in.Peek(1); err != nil {
			return 0, nil, err
		}
	}
	piece, _ := s.in.Peek(min(s.left, s.in.Buffered()))
	_, _ = s.in.Discard(len(piece))
	s.left -= len(piece)
	if s.left == 0 {
		s.at += headerSize + int64(s.now.length)
	}
	if s.now.time.Before(s.since) {
		piece = nil
	}
	return s.now.stream, piece, nil
}

// growth tells when there is more to read.
type growth struct {
	path    string
	watcher *fsnotify.Watcher
	ended   chan error // the writer let go of the log, or the wait for it ended
	cancel  context.CancelFunc
}

func watch(ctx context.Context, path string) (*growth, error) {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = watcher.Add(path)
	}
	if err != nil {
		return nil, fmt.Errorf("follow %q: %w", path, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	g := &growth{path: path, watcher: watcher, ended: make(chan error, 1), cancel: cancel}
	go func() { g.ended <- lock.AwaitFree(ctx, path) }()
	return g, nil
}

// wait returns true when there may be more, and false when there was no writer any more before the caller's next read.
func (g *growth) wait(ctx context.Context) (bool, error) {
	select {
	case err := <-g.ended:
		g.ended <- nil // for close
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

func (g *growth) close() error {
	g.cancel()
	<-g.ended
	return g.watcher.Close()
}
