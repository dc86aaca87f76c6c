package vm

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/keeper"
)

// keptFor bounds how long QEMU may outlive its keeper before it is killed.
const keptFor = time.Second

// tie puts QEMU under a keeper, which kills it when this process dies and the pipe to it is closed: macOS has no death signal, and QEMU goes on when
// its monitor is closed. The host of this plugin that dies is another matter, and the same everywhere: the plugin's own lifeline ends, and with it all
// its VMs. The process id shown is the keeper's; QEMU is in its process group.
func tie(cmd *exec.Cmd) (started func(pid int), ended func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	noCore := unix.Rlimit{} // a core would hold the guest's memory; QEMU inherits this, and a core of the plugin is missed by nobody
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &noCore)
	cmd.Args = keeper.Command(self, len(cmd.ExtraFiles), append([]string{cmd.Path}, cmd.Args[1:]...))
	cmd.Path = self
	cmd.Stdin = theirs
	cmd.WaitDelay = keptFor
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	group := 0
	started = func(pid int) {
		group = pid
		_ = theirs.Close()
	}
	ended = func() {
		_ = theirs.Close()
		_ = ours.Close()
		if group != 0 {
			_ = syscall.Kill(-group, syscall.SIGKILL) // of a keeper that was killed alone
		}
	}
	return started, ended, nil
}

// killQEMU fails only if it has ended.
func killQEMU(process *os.Process) error {
	return syscall.Kill(-process.Pid, syscall.SIGKILL)
}

// socketDescriptors keeps other children that are just being started from inheriting the ends.
func socketDescriptors() ([2]int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	return fds, err
}

// giveWay is of Linux: macOS has no such word for a process.
func giveWay() {}

// limitHoles is of Linux: elsewhere no memory is mapped from a file.
func limitHoles([]int) error { return nil }

// bindFiles is never called: macOS has no such mounts, and shared asks for none as nobody runs VMs as root there.
func bindFiles([]bind) error { return errors.ErrUnsupported }
