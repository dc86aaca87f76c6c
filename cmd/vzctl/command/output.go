package command

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"
)

// output is where a process's bytes go. When nobody reads any more (run ... | head), the rest is thrown away and gone is called, once: a
// process behind a pipe would have had a SIGPIPE.
type output struct {
	to     io.Writer
	gone   func()
	broken *atomic.Bool // shared by stdout and stderr
}

func (o *output) Write(b []byte) (int, error) {
	if o.broken.Load() {
		return len(b), nil
	}
	n, err := o.to.Write(b)
	if errors.Is(err, syscall.EPIPE) {
		o.lost()
		return len(b), nil
	}
	return n, err
}

// ReadFrom lets the kernel move bytes where it can.
func (o *output) ReadFrom(r io.Reader) (int64, error) {
	var n int64
	if !o.broken.Load() {
		var err error
		if n, err = io.Copy(o.to, r); !errors.Is(err, syscall.EPIPE) {
			return n, err
		}
		o.lost()
	}
	rest, err := io.Copy(io.Discard, r)
	return n + rest, err
}

func (o *output) lost() {
	if o.broken.CompareAndSwap(false, true) {
		o.gone()
	}
}
