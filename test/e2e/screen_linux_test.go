package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lookPatience is how long a person waits for what a running container is to show.
const lookPatience = time.Minute

// screen is a terminal with a person before it, and one command in it.
type screen struct {
	t    *testing.T
	keys *os.File // the person's end
	cmd  *exec.Cmd
	done chan error

	mu    sync.Mutex
	shown bytes.Buffer
	seen  int           // how much of it was expected
	more  chan struct{} // closed when there is more
}

// sitDown starts a command in a terminal of 80 by 24.
func (p *person) sitDown(args ...string) *screen {
	p.t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { keys.Close() })
	number, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	defer program.Close()
	s := &screen{t: p.t, keys: keys, cmd: p.command(p.t.Context(), args...), done: make(chan error, 1), more: make(chan struct{})}
	s.resize(80, 24)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = program, program, program
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	go s.watch()
	return s
}

func (s *screen) resize(width, height uint16) {
	s.t.Helper()
	if err := unix.IoctlSetWinsize(int(s.keys.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height}); err != nil {
		s.t.Fatal(err)
	}
}

// watch ends when nobody has the terminal any more.
func (s *screen) watch() {
	buffer := make([]byte, 4096)
	for {
		n, err := s.keys.Read(buffer)
		s.mu.Lock()
		s.shown.Write(buffer[:n])
		close(s.more)
		s.more = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// types presses keys.
func (s *screen) types(keys string) {
	s.t.Helper()
	if _, err := s.keys.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// shows waits until a text has come, behind what was expected before.
func (s *screen) shows(text string) {
	s.t.Helper()
	late := time.After(lookPatience)
	for {
		s.mu.Lock()
		rest, more := s.shown.String()[s.seen:], s.more
		at := strings.Index(rest, text)
		if at >= 0 {
			s.seen += at + len(text)
		}
		s.mu.Unlock()
		if at >= 0 {
			return
		}
		select {
		case <-more:
		case <-late:
			s.t.Fatalf("the screen does not show %q but %q", text, rest)
		}
	}
}

// ends waits for the end of the command, and returns its exit code.
func (s *screen) ends() int {
	s.t.Helper()
	select {
	case err := <-s.done:
		if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
			s.t.Fatal(err)
		}
	case <-time.After(patience):
		s.mu.Lock()
		defer s.mu.Unlock()
		s.t.Fatalf("the command does not end; the screen shows %q", s.shown.String())
	}
	return s.cmd.ProcessState.ExitCode()
}
