package command

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/vzctl/vzctl/sdk/fault"
)

// sink is where the output of one process, or of vzctl itself, goes. When it takes no more (run ... | head, a full disk, a terminal that was closed), the rest is thrown
// away and gone is called, once: a process of this machine would have had a SIGPIPE or an error.
type sink struct {
	gone func()

	mu    sync.Mutex
	cause error
}

// stream is stdout or stderr of the process.
type stream struct {
	*sink
	to io.Writer
}

func (s stream) Write(b []byte) (int, error) {
	if s.failure() == nil {
		_, err := s.to.Write(b)
		s.lost(err)
	}
	return len(b), nil
}

// ReadFrom lets the kernel move bytes where it can.
func (s stream) ReadFrom(r io.Reader) (int64, error) {
	var n int64
	if s.failure() == nil {
		to := s.to
		if f, ok := to.(*os.File); ok {
			enlarge(f)
		}
		if !splices(to) {
			to = struct{ io.Writer }{to}
		}
		var err error
		n, err = io.Copy(to, r)
		if _, reading := errors.AsType[*net.OpError](err); err == nil || reading {
			return n, err
		}
		s.lost(err)
	}
	rest, err := io.Copy(io.Discard, r)
	return n + rest, err
}

// splices says whether the kernel can move bytes into w. Not every device can have them so, and what it had taken from a socket by then is lost.
func splices(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return true // not a file: its own ReadFrom, if it has one, is as good as its Write
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeDevice == 0
}

func (s *sink) lost(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	first := s.cause == nil
	if first {
		s.cause = err
	}
	s.mu.Unlock()
	if first {
		s.gone()
	}
}

// failure is why output was lost, nil if it was not.
func (s *sink) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

var errHungUp = errors.New("the terminal is gone")

// ended is how a command ends whose output was lost; nil if it was not.
func (s *sink) ended() error {
	switch err := s.failure(); {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE):
		return status(codeSignal + int(syscall.SIGPIPE))
	case errors.Is(err, errHungUp):
		return status(codeSignal + int(syscall.SIGHUP))
	default:
		return &fault.Error{Reason: fault.Internal, Op: "write the output", Cause: err}
	}
}
