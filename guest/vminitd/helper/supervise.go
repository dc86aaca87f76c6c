package helper

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// With --init a container's first process is ours: most programs reap no orphans and, as the first process of a pid namespace, would not even be ended
// by a signal that they do not handle. It is the helper's program, executed once more, so that nothing is left in it of the helper's privileges, in any
// thread.

// supervisorName is its zeroth argument; the program's path and its arguments follow.
const supervisorName = "vzctl-init"

// executeSupervisor becomes it. It has the socket, and says there what came of the program.
func executeSupervisor(program int, args, env []string) error {
	path, err := find(args[0], env)
	if err != nil {
		return err
	}
	argv, err := syscall.SlicePtrFromStrings(append([]string{supervisorName, path}, args...))
	if err != nil {
		return err
	}
	envv, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return err
	}
	if _, err := unix.FcntlInt(socketFD, unix.F_SETFD, 0); err != nil {
		return err
	}
	empty := [1]byte{}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(program), uintptr(unsafe.Pointer(&empty[0])), uintptr(unsafe.Pointer(&argv[0])),
		uintptr(unsafe.Pointer(&envv[0])), unix.AT_EMPTY_PATH, 0)
	return fmt.Errorf("execute the init process: %w", errno)
}

// supervise is its program. It does not return.
func supervise() {
	unix.CloseOnExec(socketFD)
	socket := os.NewFile(socketFD, "launch")
	signals := make(chan os.Signal, 64)
	ends := make(chan os.Signal, 1) // of its own, as a channel that is full loses signals: one token is enough for any number of children
	signal.Notify(ends, unix.SIGCHLD)
	pid, err := startSupervised(os.Args[1], os.Args[2:], signals)
	if err != nil {
		_, _ = socket.Write(encodeError(err))
		os.Exit(1)
	}
	if _, err := socket.Write([]byte{MessageExecute}); err != nil {
		os.Exit(1)
	}
	_ = socket.Close()
	for {
		select {
		case <-ends:
			if code, ended := reapAll(pid); ended {
				os.Exit(code) // and the kernel ends what is left
			}
		case s := <-signals:
			switch number, ok := s.(unix.Signal); {
			case !ok, number == unix.SIGCHLD, number == unix.SIGURG: // Go's scheduler sends the last to itself
			default:
				_ = unix.Kill(pid, number) // it may have ended just now
			}
		}
	}
}

// startSupervised starts the program in a session of its own, so that the terminal's signals are its own too.
func startSupervised(path string, args []string, signals chan<- os.Signal) (pid int, err error) {
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true}}
	signal.Ignore(unix.SIGHUP) // which the terminal sends when it is let go
	if err := unix.IoctlSetInt(0, unix.TIOCNOTTY, 0); err == nil {
		attr.Sys.Setctty = true
	}
	signal.Notify(signals) // those that are caught the program gets by default again
	pid, err = syscall.ForkExec(path, args, attr)
	if err != nil {
		return 0, executeError(args[0], err)
	}
	return pid, nil
}

// reapAll takes the ends of children, and says how the one that counts has ended.
func reapAll(pid int) (code int, ended bool) {
	for {
		var status unix.WaitStatus
		child, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || child == 0:
			return code, ended
		case child == pid && status.Signaled():
			code, ended = 128+int(status.Signal()), true
		case child == pid:
			code, ended = status.ExitStatus(), true
		}
	}
}
