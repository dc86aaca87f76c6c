// Package launch starts processes of containers: it makes a process with its namespaces, which runs package helper, tells it what to become, and
// listens until it has.
package launch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
	"github.com/vzctl/vzctl/guest/vminitd/phase"
	"github.com/vzctl/vzctl/guest/vminitd/reap"
	"github.com/vzctl/vzctl/guest/vminitd/vfork"
)

// Request is a process to be started.
type Request struct {
	Config helper.Config
	// Helper is one that waits, for a first process; nil: one is made.
	Helper *Helper
	// Join is the process whose namespaces another one shares; nil for a first process.
	Join *reap.Child
	// Stdio are the process's three streams; nil if it has a terminal.
	Stdio []*os.File
	// Cgroup is the directory of the cgroup that the process is born in, unless it is born already; of the caller.
	Cgroup *os.File
	// Prepare is called with the new process, before it does anything.
	Prepare func(pid int) error
	// Handed are the mounts that a first process in a user namespace is given, see helper.Hand; of the caller.
	Handed []*os.File
	// Unreadable is the program for a further process in a user namespace, see there.
	Unreadable func() (*os.File, error)
}

// Started is a process that has executed.
type Started struct {
	*reap.Child
	// Terminal is the master of the process's terminal, or nil. The caller closes it.
	Terminal *os.File
	// Left are descriptors that the caller closes when there is time for it.
	Left []int
}

// Helper is a process that runs package helper and waits to be told what to become.
type Helper struct {
	*reap.Child
	socket *os.File
}

// New makes a helper in a cgroup and, unless it joins those of another process, in a new pid namespace. The first process of a pid namespace ends all of it.
func New(reaper *reap.Reaper, cgroup *os.File, joined *reap.Child) (*Helper, error) {
	return newHelper(func(socket int) (*reap.Child, error) { return fork(reaper, cgroup, joined, socket) })
}

// newHelper makes a helper by a function that is given its end of the socket.
func newHelper(fork func(socket int) (*reap.Child, error)) (*Helper, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return nil, errors.Join(err, unix.Close(pair[0]), unix.Close(pair[1]))
	}
	socket := os.NewFile(uintptr(pair[0]), "launch")
	child, err := fork(pair[1])
	if err := errors.Join(err, unix.Close(pair[1])); err != nil {
		return nil, errors.Join(fmt.Errorf("make a process: %w", err), socket.Close())
	}
	return &Helper{child, socket}, nil
}

// Rehearse has the helper decode a configuration and stage its mounts, and returns once it waits for another.
func (h *Helper) Rehearse(config helper.Config) error {
	config.Rehearsal = true
	text, programs, err := config.Encode()
	if err != nil {
		return err
	}
	if err := sendConfig(h.socket, text, programs, nil); err != nil {
		return err
	}
	kind, _, err := receive(h.socket)
	if err == nil && kind != helper.MessageReady {
		text, _ := io.ReadAll(io.LimitReader(h.socket, 64<<10))
		err = fmt.Errorf("the launch helper cannot rehearse: %w", helper.DecodeError(text))
	}
	return err
}

// Discard ends a helper that has not become anything else, and waits for its end. May be called at any time.
func (h *Helper) Discard() {
	_ = h.socket.Close()
	_ = h.Signal(unix.SIGKILL)
	<-h.Done()
}

// Start starts a process and returns once it has executed, or with why not. Errors with Op "execute" are about the executable.
func Start(ctx context.Context, reaper *reap.Reaper, r Request) (*Started, error) {
	h := r.Helper
	if h == nil {
		var err error
		if h, err = r.newHelper(ctx, reaper); err != nil {
			return nil, err
		}
		phase.Done(ctx, "fork")
	}
	child, socket := h.Child, h.socket
	defer func() { _ = socket.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = child.Signal(unix.SIGKILL) })
	defer stop()
	terminal, err := converse(ctx, socket, child, r)
	if err != nil {
		_ = child.Signal(unix.SIGKILL) // it ends by itself, unless it is the cause
		<-child.Done()
		if terminal != nil {
			_ = terminal.Close()
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	return &Started{Child: child, Terminal: terminal}, nil
}

// fork makes the helper.
func fork(reaper *reap.Reaper, cgroup *os.File, joined *reap.Child, socket int) (*reap.Child, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	// The helper's last words, if it panics, go to the console.
	attr := &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), 2, uintptr(socket)},
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}}
	start := func() (pid int, err error) {
		vfork.Calm(func() { pid, err = syscall.ForkExec("/proc/self/exe", []string{helper.Name}, attr) })
		return pid, err
	}
	if joined == nil {
		attr.Sys.Cloneflags = unix.CLONE_NEWPID
		return reaper.Start(start)
	}
	pidfd, err := joined.PidFD()
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(pidfd) }()
	attr.Files = append(attr.Files, uintptr(pidfd))
	var child *reap.Child
	err = inPidNamespace(reaper, pidfd, func() (err error) {
		child, err = reaper.Start(start)
		return err
	})
	return child, err
}

// converse tells the helper its configuration and listens until it has executed.
func converse(ctx context.Context, socket *os.File, child *reap.Child, r Request) (terminal *os.File, err error) {
	if err := r.Prepare(child.Pid); err != nil {
		return nil, err
	}
	if r.Config.IDs != nil {
		if err := prepareOutside(child, r); err != nil {
			return nil, err
		}
	}
	config, programs, err := r.Config.Encode()
	if err != nil {
		return nil, err
	}
	if len(config) > helper.MaxConfig {
		return nil, &failure.Error{Reason: failure.Invalid, Op: "start process", Cause: fmt.Errorf("arguments and environment of %d bytes are too long", len(config))}
	}
	if err := sendConfig(socket, config, programs, slices.Concat(r.Stdio, r.Handed)); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		return nil, err // a helper that has gone may have said why
	}
	phase.Done(ctx, "configure")
	terminal, err = readReply(socket, child)
	phase.Done(ctx, "execute") // the helper's work: namespaces, mounts, privileges
	return terminal, err
}

func sendConfig(socket *os.File, config, programs []byte, files []*os.File) error {
	var rights []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		rights = unix.UnixRights(fds...)
	}
	length := binary.BigEndian.AppendUint32(nil, uint32(len(config)))
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(s uintptr) {
		err = unix.Sendmsg(int(s), length, rights, nil, unix.MSG_NOSIGNAL) // an empty socket takes four bytes at once
	})
	if err := errors.Join(controlErr, err); err != nil {
		return err
	}
	_, err = socket.Write(append(config, programs...))
	return err
}

// readReply reads what the helper says until it executes, which closes its end.
func readReply(socket *os.File, child *reap.Child) (terminal *os.File, err error) {
	executing := false
	for {
		kind, fd, err := receive(socket)
		switch {
		case errors.Is(err, io.EOF) && executing:
			return terminal, nil
		case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
			<-child.Done()
			return terminal, &failure.Error{Reason: failure.Internal, Op: "start process",
				Cause: fmt.Errorf("the launch helper ended early with code %d", child.Exit().Code),
				Hint:  "the boot log may say more; a small limit of memory or processes may be the cause"}
		case err != nil:
			return terminal, err
		case kind == helper.MessageTerminal && fd >= 0 && terminal == nil:
			if terminal, err = pollable(fd, "terminal"); err != nil {
				return nil, err
			}
		case kind == helper.MessageExecute:
			executing = true
		case kind == helper.MessageError:
			text, err := io.ReadAll(io.LimitReader(socket, 64<<10))
			if err != nil && !errors.Is(err, unix.ECONNRESET) {
				return terminal, err
			}
			return terminal, helper.DecodeError(text)
		default:
			return terminal, errors.New("the launch helper said something unknown")
		}
	}
}

// receive reads one byte and the descriptor that may come with it.
func receive(socket *os.File) (kind byte, fd int, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, -1, err
	}
	var message [1]byte
	rights := make([]byte, unix.CmsgSpace(4))
	n, rightsLength := 0, 0
	readErr := raw.Read(func(s uintptr) bool {
		n, rightsLength, _, _, err = unix.Recvmsg(int(s), message[:], rights, unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(err, unix.EAGAIN)
	})
	if err := errors.Join(readErr, err); err != nil {
		return 0, -1, err
	}
	if n == 0 {
		return 0, -1, io.EOF
	}
	fds, err := helper.Descriptors(rights[:rightsLength])
	if err != nil || len(fds) == 0 {
		return message[0], -1, err
	}
	return message[0], fds[0], nil
}

// pollable makes a file whose reads a deadline can end.
func pollable(fd int, name string) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}
