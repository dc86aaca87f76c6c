package stdio

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// feed moves what the host sends to a process. What was received when it is suspended, and is not the process's yet, the next connection delivers first.
type feed struct {
	file *os.File

	mu       sync.Mutex
	received uint64 // on the present connection, in bytes
	ended    bool   // the host has ended the input, behind pending
	stop     *Border
	pending  []byte // received and not written; of the one who runs, but for its length
}

// Border is up to where a connection's input is taken before the stream is given back: all that the host has sent on it.
type Border struct {
	Bytes uint64 // since the stream was opened
	Ended bool   // and then its half-close
}

// fed is how moving has ended.
type fed int

const (
	fedLost      fed = iota // the connection
	fedSuspended            // at the border
	fedEnd                  // by the host
	fedRefused              // by the process, which has closed its input
)

// begin makes the feed a new connection's.
func (f *feed) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.received, f.stop = 0, nil
	f.file = pollable(f.file)
	_ = f.file.SetWriteDeadline(time.Time{})
}

// suspend has run return at the border, and write nothing any more.
func (f *feed) suspend(conn Conn, at Border) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop = &at
	_ = f.file.SetWriteDeadline(past)
	if f.atBorder() {
		_ = conn.SetReadDeadline(past)
	}
}

// atBorder is with the lock held.
func (f *feed) atBorder() bool {
	return f.stop != nil && (f.ended || !f.stop.Ended && f.received >= f.stop.Bytes)
}

// state is of this moment.
func (f *feed) state() (suspended, atBorder, ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stop != nil, f.atBorder(), f.ended
}

func (f *feed) run(conn io.Reader, buffer []byte) fed {
	for {
		if err := f.flush(); err != nil {
			return fedRefused
		}
		suspended, atBorder, ended := f.state()
		switch {
		case atBorder:
			return fedSuspended
		case ended && !suspended:
			return fedEnd
		}
		if len(f.pending) > 0 {
			f.pending = bytes.Clone(f.pending) // the buffer is read into again
		}
		n, err := conn.Read(buffer)
		f.take(buffer[:n], errors.Is(err, io.EOF))
		if err != nil && !errors.Is(err, io.EOF) {
			if _, atBorder, _ := f.state(); atBorder {
				return fedSuspended
			}
			return fedLost
		}
	}
}

func (f *feed) take(p []byte, ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.received += uint64(len(p))
	f.ended = f.ended || ended
	if len(f.pending) == 0 {
		f.pending = p
	} else {
		f.pending = append(slices.Clip(f.pending), p...)
	}
}

// flush writes what was received, unless the feed is suspended.
func (f *feed) flush() error {
	for len(f.pending) > 0 {
		if suspended, _, _ := f.state(); suspended {
			return nil
		}
		n, err := f.file.Write(f.pending)
		f.pending = f.pending[n:]
		if suspended, _, _ := f.state(); err != nil && !(suspended && errors.Is(err, os.ErrDeadlineExceeded)) {
			return err
		}
	}
	return nil
}
