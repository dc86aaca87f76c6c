package stdio

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Pipes are the streams of a process without a terminal.
type Pipes struct {
	Stdin          *Input
	Stdout, Stderr *Output
	// far are the process's own ends, until it has them.
	far []*os.File
}

// NewPipes makes three pipes.
func NewPipes() (p *Pipes, err error) {
	p = &Pipes{}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	near, far, err := pipe(true)
	if err != nil {
		return p, err
	}
	p.Stdin, p.far = NewInput(near), append(p.far, far)
	for _, out := range []**Output{&p.Stdout, &p.Stderr} {
		near, far, err := pipe(false)
		if err != nil {
			return p, err
		}
		*out, p.far = NewOutput(near), append(p.far, far)
	}
	return p, nil
}

// pipe makes a pipe. Reads and writes of the near end never wait, but the poller is not told of it, see pollable: many a process ends before a connection comes. The far end blocks, as programs expect.
func pipe(nearWrites bool) (near, far *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	if nearWrites {
		fds[0], fds[1] = fds[1], fds[0]
	}
	near, far = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	if _, err := unix.FcntlInt(uintptr(fds[0]), unix.F_SETFL, unix.O_NONBLOCK); err != nil {
		return nil, nil, errors.Join(err, near.Close(), far.Close())
	}
	return near, far, nil
}

// pollable has the poller know the near end of a pipe, or of a terminal, from now on. It returns the file that is to be used in place of it.
func pollable(near *os.File) *os.File {
	if near.SetWriteDeadline(time.Time{}) == nil { // it does already; of reads there may be a deadline
		return near
	}
	raw, err := near.SyscallConn()
	if err != nil {
		return near // it was closed
	}
	fd := -1
	controlErr := raw.Control(func(number uintptr) { fd, err = unix.FcntlInt(number, unix.F_DUPFD_CLOEXEC, 3) })
	if err := errors.Join(controlErr, err); err != nil {
		return near
	}
	_ = near.Close()
	return os.NewFile(uintptr(fd), near.Name())
}

// enlarge reports whether file is a pipe that holds size bytes now, or more.
func enlarge(file *os.File, size int) bool {
	raw, err := file.SyscallConn()
	if err != nil {
		return false
	}
	controlErr := raw.Control(func(fd uintptr) { _, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size) })
	return (err == nil || errors.Is(err, unix.EBUSY)) && controlErr == nil // it is busy with more than that
}

// Far returns the process's ends: stdin, stdout, stderr.
func (p *Pipes) Far() []*os.File { return p.far }

// CloseFar gives up the process's ends: only then do reads see its end.
func (p *Pipes) CloseFar() {
	for _, f := range p.far {
		_ = f.Close()
	}
	p.far = nil
}

// Close closes all.
func (p *Pipes) Close() {
	p.CloseFar()
	if p.Stdin != nil {
		p.Stdin.Close()
	}
	for _, out := range []*Output{p.Stdout, p.Stderr} {
		if out != nil {
			out.Close()
		}
	}
}
