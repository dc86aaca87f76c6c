package containerlog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Options of Replay.
type Options struct {
	// Follow waits for more until the log has no writer.
	Follow bool
	// Tail leaves out all but so many lines at the end of what is there, both streams counted together; negative: all.
	Tail int
	// Since leaves out what came before, Until what came after; with Follow it ends then. Zero times leave out nothing.
	Since, Until time.Time
	// Timestamps puts the time at which a line began to come before it, in UTC.
	Timestamps bool
}

// Replay writes what a log holds to stdout and stderr, in the order in which it came; a nil one is left out. A record that is not complete,
// because its writer died, is written as far as it goes. Without Follow it ends at the end that the log has when it comes there. A follower that is slower than
// the container misses what is removed before it comes there. A log that is missing is os.ErrNotExist.
func Replay(ctx context.Context, path string, options Options, stdout, stderr io.Writer) (err error) {
	if !options.Until.IsZero() && options.Follow {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, options.Until, errUntil)
		defer cancel()
	}
	r := &player{path: path, options: options}
	for stream, to := range [...]io.Writer{Stdout: stdout, Stderr: stderr} {
		if to != nil {
			r.out[stream] = &stamper{to: to}
		}
	}
	// The watch begins before the reading, so that nothing falls in between.
	if options.Follow {
		if r.more, err = watch(path); err != nil {
			return err
		}
		defer func() { _ = r.more.close() }() // it was only watched
	}
	if err := r.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	err = r.run(ctx)
	if context.Cause(ctx) == errUntil {
		return nil
	}
	return err
}

var errUntil = errors.New("the time until which the log was asked for has come")

// player reads one file after another.
type player struct {
	path    string
	options Options
	out     [3]*stamper
	more    *growth // nil: nobody waits for more

	older   []file   // still to be read before current
	current *os.File // the newest when the reading began
	skip    int      // lines
}

// open finds the files there are, of which the oldest that has something to show is the first.
func (r *player) open() error {
	for {
		current, err := os.OpenFile(r.path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		older, known, err := olderThan(current, r.path)
		if known && err == nil {
			r.current, r.older = current, older
			if r.options.Tail >= 0 {
				err = r.seekTail()
			}
			if err == nil {
				return nil
			}
		}
		if err := errors.Join(err, current.Close()); err != nil {
			return err
		}
		// It was put aside and removed in this moment.
	}
}

func (r *player) close() error { return r.current.Close() }

// olderThan lists what was put aside before a file of the log, which may have been put aside itself. It is not known if it was removed since.
func olderThan(f *os.File, path string) (older []file, known bool, err error) {
	all, err := aside(path)
	if err != nil {
		return nil, false, err
	}
	for i, other := range all {
		if same, err := sameFile(f, other.path); same || err != nil {
			return all[:i], true, err
		}
	}
	known, err = sameFile(f, path)
	return all, known, err
}

// seekTail leaves out files and lines that are before the last ones.
func (r *player) seekTail() error {
	have, open, empty, err := countLines(r.current, r.path, r.options)
	if err != nil {
		return err
	}
	if open {
		have++
	}
	first := len(r.older)
	for first > 0 && have < r.options.Tail {
		lines, open, nothing, err := r.countOlder(r.older[first-1])
		if err != nil {
			return err
		}
		if have += lines; empty && open {
			have++
		}
		empty = empty && nothing
		first--
	}
	r.older, r.skip = r.older[first:], max(0, have-r.options.Tail)
	return nil
}

func (r *player) countOlder(of file) (lines int, open, empty bool, err error) {
	err = r.with(of, func(f *os.File) (err error) {
		lines, open, empty, err = countLines(f, of.path, r.options)
		return err
	})
	return lines, open, empty || lines == 0 && !open, err
}

// with opens a file that was put aside. One that is removed meanwhile, or has nothing to show, is left out.
func (r *player) with(of file, do func(*os.File) error) error {
	f, err := os.OpenFile(of.path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info, err := f.Stat(); err == nil && info.ModTime().Add(clockGrain).Before(r.options.Since) {
		return f.Close()
	}
	return errors.Join(do(f), f.Close())
}

// clockGrain is more than what a file's time may lie behind that of its last record.
const clockGrain = time.Second

// run writes all there is, and then what comes.
func (r *player) run(ctx context.Context) error {
	for _, of := range r.older {
		if err := r.with(of, func(f *os.File) error { return r.copy(ctx, newScanner(f, of.path, r.options)) }); err != nil {
			return err
		}
	}
	for {
		s := newScanner(r.current, r.path, r.options)
		if err := r.copy(ctx, s); r.more == nil || err != nil {
			return err
		}
		if err := r.follow(ctx, s); err != nil {
			return err
		}
		next, err := following(r.current, r.path)
		if next == nil || err != nil {
			return err
		}
		if err := r.current.Close(); err != nil {
			return err
		}
		r.current = next
	}
}

// copy writes what a file has up to its present end.
func (r *player) copy(ctx context.Context, s *scanner) error {
	for {
		stream, piece, err := s.next()
		if err == io.EOF {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		for r.skip > 0 && len(piece) > 0 {
			end := bytes.IndexByte(piece, '\n')
			if end < 0 {
				piece = nil
				break
			}
			piece, r.skip = piece[end+1:], r.skip-1
		}
		out := r.out[stream]
		if out == nil || len(piece) == 0 {
			continue
		}
		if r.options.Timestamps {
			err = out.write(piece, s.now.time)
		} else {
			_, err = out.to.Write(piece)
		}
		if err != nil {
			return err
		}
	}
}
