// Package reap starts and reaps processes, as the first process of a machine must: its own children, whose ends it reports, and the orphans
// of others. Nothing else in vminitd may wait for a process.
package reap

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Exit is how a process ended.
type Exit struct {
	Code   int         // exit code, or 128 + signal
	Signal unix.Signal // 0 unless a signal ended it
	Time   time.Time
}

// ErrEnded is returned for a process that has ended.
var ErrEnded = errors.New("process has ended")

// Reaper reaps. Run must run for it to do so.
type Reaper struct {
	self     func() (int, error) // see Self
	mu       sync.Mutex          // held while waiting, so that no number of a process is another's meanwhile
	children map[int]*Child
	// A child may end before it is known. So while some are being made the ends of all who are not known are kept, with the number of starts until then: a process that
	// had the same id before is none of a later start's.
	starting int
	starts   uint64
	early    map[int]early

	signals chan os.Signal // the kernel's, that there are ends
	quiet   quiet
}

// early is an end that came before somebody knew of the process.
type early struct {
	exit   Exit
	starts uint64
}

// New returns a Reaper.
func New() *Reaper {
	self := sync.OnceValues(func() (int, error) { return unix.PidfdOpen(os.Getpid(), 0) })
	return &Reaper{self: self, children: map[int]*Child{}, early: map[int]early{}, signals: make(chan os.Signal, 1), quiet: quiet{most: quietFor}}
}

// Self returns a descriptor of this process, which stays open.
func (r *Reaper) Self() (pidfd int, err error) { return r.self() }

// Child is a process started through Start.
type Child struct {
	Pid    int
	reaper *Reaper
	done   chan struct{}
	exit   Exit
	file   *os.File // a pidfd, if one was asked for; of the reaper's lock
}

// Start runs fork, which returns the new process's id, with an error if it is to be forgotten once it has ended. It may take its time.
func (r *Reaper) Start(fork func() (int, error)) (*Child, error) {
	r.mu.Lock()
	r.starting++
	r.starts++
	before := r.starts
	r.mu.Unlock()
	pid, err := fork()
	r.mu.Lock()
	defer r.mu.Unlock()
	end, ended := r.early[pid]
	ended = ended && end.starts >= before
	delete(r.early, pid)
	if r.starting--; r.starting == 0 {
		clear(r.early)
	}
	c := &Child{Pid: pid, reaper: r, done: make(chan struct{})}
	switch {
	case ended:
		c.end(end.exit)
	case pid > 0:
		r.children[pid] = c
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Run reaps until ctx ends.
func (r *Reaper) Run(ctx context.Context) {
	signal.Notify(r.signals, unix.SIGCHLD)
	defer signal.Stop(r.signals)
	for {
		r.reap()
		select {
		case <-r.signals:
		case <-ctx.Done():
			return
		}
	}
}

// reap takes all who have ended: one signal may stand for many.
func (r *Reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if !status.Exited() && !status.Signaled() {
			continue
		}
		switch child := r.children[pid]; {
		case child != nil:
			delete(r.children, pid)
			if !child.ended() { // that is, nobody has looked before
				child.end(exitOf(status))
			}
		case r.starting > 0:
			r.early[pid] = early{exitOf(status), r.starts}
		} // otherwise an orphan
	}
}

// Look tells that the process has ended, if it has, before Run hears of it. What is left of it Run reaps: that takes the kernel longer than to say how it has ended.
func (c *Child) Look() {
	c.reaper.mu.Lock()
	defer c.reaper.mu.Unlock()
	if c.ended() {
		return
	}
	var info childInfo
	_, _, errno := syscall.RawSyscall6(unix.SYS_WAITID, unix.P_PID, uintptr(c.Pid), uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, 0, 0)
	if errno != 0 || int(info.pid) != c.Pid {
		return
	}
	exit := Exit{Code: int(info.status), Time: time.Now()}
	if info.code != exited {
		exit.Signal = unix.Signal(info.status)
		exit.Code += 128
	}
	c.end(exit)
}

// childInfo is the kernel's siginfo_t, of a child (waitid(2)).
type childInfo struct {
	signo, errno, code, _ int32
	pid                   int32
	_                     uint32
	status                int32
	_                     [100]byte
}

// exited is CLD_EXITED: otherwise the status is a signal.
const exited = 1

// ended is asked with the reaper's lock held.
func (c *Child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *Child) end(e Exit) {
	c.exit = e
	if c.file != nil {
		_ = c.file.Close() // which was looked at only
	}
	close(c.done)
}

func exitOf(status unix.WaitStatus) Exit {
	if status.Signaled() {
		return Exit{Code: 128 + int(status.Signal()), Signal: status.Signal(), Time: time.Now()}
	}
	return Exit{Code: status.ExitStatus(), Time: time.Now()}
}

// Done is closed when the process has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Exit is how the process ended; valid once Done is closed.
func (c *Child) Exit() Exit { return c.exit }

// Signal sends a signal. The process cannot be mistaken for another that got its number.
func (c *Child) Signal(signal unix.Signal) error {
	return c.withPid(func(pid int) error { return unix.Kill(pid, signal) })
}

// PidFD returns a descriptor of the process, which the caller closes.
func (c *Child) PidFD() (fd int, err error) {
	err = c.withPid(func(pid int) (err error) {
		fd, err = unix.PidfdOpen(pid, 0) // is close-on-exec
		return err
	})
	return fd, err
}

// WithPidFD calls f with a descriptor of the process, which is kept for the next one who asks, until the process has ended and f has returned.
func (c *Child) WithPidFD(f func(fd int) error) error {
	var raw syscall.RawConn
	err := c.withPid(func(pid int) error {
		if c.file == nil {
			fd, err := unix.PidfdOpen(pid, 0) // is close-on-exec
			if err != nil {
				return err
			}
			c.file = os.NewFile(uintptr(fd), "process") // until it has ended
		}
		var err error
		raw, err = c.file.SyscallConn()
		return err
	})
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(controlErr, err)
}

func (c *Child) withPid(f func(pid int) error) error {
	c.reaper.mu.Lock()
	defer c.reaper.mu.Unlock()
	if c.ended() {
		return ErrEnded
	}
	return f(c.Pid)
}
