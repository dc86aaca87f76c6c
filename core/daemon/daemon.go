// Package daemon starts the core's own background processes: a supervisor for each running sandbox and a netd for each network in use. The starter makes the sockets
// and takes the life lock before there is a process, and hands both over: whoever looks sees it alive from the first moment, a connection made at once is
// answered as soon as the daemon is up, and nobody polls.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/core/lock"
)

// Spec describes a daemon to start.
type Spec struct {
	// Program and its arguments.
	Program []string
	Args    []string
	// Sockets are paths at which the daemon listens; files there are replaced. The caller has made their directory, and checked that the paths fit.
	Sockets []string
	// Life is the held lock that the daemon keeps for its life. Start closes it.
	Life *lock.Lock
	// LogPath is appended with what the daemon writes to stdout and stderr. A daemon that logs to NewLog of the same path bounds it.
	LogPath string
	Env     []string
	// Held has the daemon wait for Release as soon as it is up, so that its process is made while its starter still makes what it will need. If that ends before,
	// or withdraws it, the daemon ends.
	Held bool
}

// firstFD is where a daemon finds what it inherits: the life lock, then the listeners, then the pipe that holds it.
const firstFD = 3

// Process is a started daemon. It outlives its starter; one that looks after it must call Wait.
type Process struct {
	process *os.Process
	logPath string
	logFrom int64
	hold    hold          // nil: it was not held
	ready   chan struct{} // of one from the reserve, closed when it has what it needs; nil: it was started
	done    chan struct{}
	err     error
}

// hold is the end of what a held daemon waits at: a byte releases it, the end withdraws it.
type hold interface {
	Write([]byte) (int, error)
	// leave is called when it is released, withdraw if it is not to be.
	leave() error
	withdraw() error
}

// pipe is the one of a daemon that was started held.
type pipe struct{ *os.File }

func (p pipe) leave() error    { return p.Close() }
func (p pipe) withdraw() error { return p.Close() }

// Start runs the daemon in a session of its own. After an error nothing is left, and the life lock is free.
func Start(spec Spec) (p *Process, err error) {
	defer func() { err = errors.Join(err, spec.Life.Close()) }()
	log, from, err := openLog(spec.LogPath, maxLog)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	cmd := exec.Command(spec.Program[0], append(spec.Program[1:len(spec.Program):len(spec.Program)], spec.Args...)...)
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.ExtraFiles = []*os.File{spec.Life.File()}
	for _, path := range spec.Sockets {
		file, err := listen(path)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	p = &Process{logPath: spec.LogPath, logFrom: from, done: make(chan struct{})}
	if spec.Held {
		theirs, ours, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer theirs.Close()
		cmd.ExtraFiles, p.hold = append(cmd.ExtraFiles, theirs), pipe{ours}
	}
	if err := cmd.Start(); err != nil {
		if p.hold != nil {
			err = errors.Join(err, p.hold.withdraw())
		}
		return nil, fmt.Errorf("start %s: %w", strings.Join(append(spec.Program, spec.Args...), " "), err)
	}
	p.process = cmd.Process
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// listen makes a socket for its owner alone.
func listen(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// The daemon owns the path from here on.
	listener.SetUnlinkOnClose(false)
	file, err := listener.File()
	return file, errors.Join(err, listener.Close())
}

// PID of the daemon.
func (p *Process) PID() int { return p.process.Pid }

// Done is closed when the daemon has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// readyPatience is how long a daemon from the reserve may take to receive what it needs, which is on its way for some time when it is asked for.
const readyPatience = time.Second

// Ready returns whether a held daemon can be released, before which it is asked. One from the reserve that has ended, or stands still, cannot, and has ended when this returns: another can be started in its place.
func (p *Process) Ready() bool {
	if p.ready == nil {
		return true
	}
	late := time.NewTimer(readyPatience)
	defer late.Stop()
	select {
	case <-p.ready:
		return true
	case <-p.done:
	case <-late.C:
		_ = p.Kill() // or it has ended
		<-p.done
	}
	return false
}

// Release lets a held daemon begin. One that has ended meanwhile is no error here; Wait tells.
func (p *Process) Release() error {
	_, err := p.hold.Write([]byte{1})
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, p.hold.leave())
}

// Withdraw has a held daemon end, and returns when it has or ctx does.
func (p *Process) Withdraw(ctx context.Context) error {
	if err := p.hold.withdraw(); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kill ends the daemon at once.
func (p *Process) Kill() error {
	if err := p.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Wait returns when the daemon has ended, with how if it was started here, or when ctx does.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// LastWords returns the end of what the daemon has logged since its start, at most a few lines.
func (p *Process) LastWords() string {
	lines := p.lastLines()
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

// LastLine returns the last line of it.
func (p *Process) LastLine() string {
	lines := p.lastLines()
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

func (p *Process) lastLines() []string {
	const most = 2048
	f, err := os.Open(p.logPath)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	from := p.logFrom
	if from > info.Size() {
		from = 0 // the log was put aside meanwhile
	}
	from = max(from, info.Size()-most)
	text, err := io.ReadAll(io.NewSectionReader(f, from, most))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// Inherited is what a daemon got from its starter, beside the life lock: its descriptor stays open until the kernel closes it with the process.
type Inherited struct {
	Listeners []*net.UnixListener
	released  func() bool // nil: a pipe tells
}

// Released returns, in a daemon that was started held, once its starter lets it begin; false: it is not to.
func (in *Inherited) Released() bool {
	if in.released != nil {
		return in.released()
	}
	hold := os.NewFile(uintptr(firstFD+1+len(in.Listeners)), "hold")
	if hold == nil {
		return false
	}
	n, _ := hold.Read(make([]byte, 1)) // its end is the answer
	_ = hold.Close()                   // read to its end
	return n == 1
}

// Leave lets go of the life lock, in a daemon that gets another.
func (in *Inherited) Leave() error { return os.NewSyscallError("close", syscall.Close(firstFD)) }

// Inherit takes over what Start handed to this process. It is called once, with the number of sockets that the daemon has.
func Inherit(sockets int) (*Inherited, error) {
	// No os.File is made of the life lock: its finalizer would let go of it.
	var stat syscall.Stat_t
	if err := syscall.Fstat(firstFD, &stat); err != nil {
		return nil, errNotStarted
	}
	syscall.CloseOnExec(firstFD)
	syscall.CloseOnExec(firstFD + 1 + sockets) // of a held one the pipe; otherwise there is nothing
	in := &Inherited{}
	for i := range sockets {
		fd := firstFD + 1 + i
		syscall.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), "socket")
		if file == nil {
			return nil, errNotStarted
		}
		listener, err := listenerOf(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, fmt.Errorf("take over the socket of descriptor %d; this command is started by vzctl itself: %w", fd, err)
		}
		in.Listeners = append(in.Listeners, listener)
	}
	return in, nil
}

// listenerOf returns the listener of a socket; file stays the caller's.
func listenerOf(file *os.File) (*net.UnixListener, error) {
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	unixListener, ok := listener.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("it is no unix socket"), listener.Close())
	}
	return unixListener, nil
}

var errNotStarted = errors.New("this command is started by vzctl itself, and inherits its sockets")
