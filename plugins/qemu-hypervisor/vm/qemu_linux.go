package vm

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// tie has the kernel kill QEMU when this process dies: strictly, when the thread that starts it ends, see run.
func tie(cmd *exec.Cmd) (started func(pid int), ended func(), err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started = func(pid int) {
		noCore := unix.Rlimit{} // a core would hold the guest's memory
		_ = unix.Prlimit(pid, unix.RLIMIT_CORE, &noCore, nil)
	}
	return started, func() {}, nil
}

// killQEMU fails only if it has ended.
func killQEMU(process *os.Process) error { return process.Kill() }

func socketDescriptors() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}
