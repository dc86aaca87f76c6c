package launch

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// sysProcAttr: a process group, so that nothing of a plugin survives it; and SIGTERM when we are gone, beside the lifeline. SIGTERM and not
// SIGKILL, for it shall take down what it started.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// awaitExit returns when the child has ended, and leaves it to be reaped.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
