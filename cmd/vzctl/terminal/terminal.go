// Package terminal is the user's terminal: whether there is one, its raw mode and its size.
package terminal

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"

	"github.com/vzctl/vzctl/core/engine"
)

// Of returns the descriptor of a reader or writer that is a terminal.
func Of(stream any) (fd int, ok bool) {
	f, ok := stream.(*os.File)
	if !ok || f == nil {
		return -1, false
	}
	fd = int(f.Fd())
	return fd, term.IsTerminal(fd)
}

// Gone says whether a terminal has been hung up.
func Gone(fd int) bool { return !term.IsTerminal(fd) }

// Raw hands keys on one by one and unchanged, Ctrl-C too. restore may be called more than once.
func Raw(fd int) (restore func(), err error) {
	before, err := term.MakeRaw(fd)
	if err != nil {
		return func() {}, err
	}
	return sync.OnceFunc(func() { _ = term.Restore(fd, before) }), nil
}

// Size of the terminal; zero if it does not say.
func Size(fd int) engine.WindowSize {
	width, height, err := term.GetSize(fd)
	if err != nil {
		return engine.WindowSize{}
	}
	return engine.WindowSize{Width: uint16(width), Height: uint16(height)}
}

// Sizes gives the size now and after every change, until stop returns. A reader that is slow gets the newest only.
func Sizes(fd int) (sizes <-chan engine.WindowSize, stop func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	newest := make(chan engine.WindowSize, 1)
	newest <- Size(fd)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-changed:
				select {
				case <-newest:
				default:
				}
				newest <- Size(fd)
			}
		}
	}()
	return newest, sync.OnceFunc(func() {
		signal.Stop(changed)
		close(done)
		<-ended
	})
}
