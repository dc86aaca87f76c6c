package vm

import (
	"os"
	"os/exec"
	"syscall"
	"unsafe"

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

// bindFiles has this thread, and programs that it starts from now on, find files at other paths as well. Nobody else does.
func bindFiles(binds []bind) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	for _, b := range binds {
		if err := unix.Mount(b.from, b.to, "", unix.MS_BIND, ""); err != nil {
			return &os.PathError{Op: "share file", Path: b.from, Err: err}
		}
	}
	return nil
}

// giveWay has programs that this thread starts from now on wait for their share of a CPU when they wake up while another runs there, instead of interrupting it. That is for what computes for long, as a VM
// with emulated CPUs does; many of them would spend their time on interrupting each other, see docs/standby.md. Who wants them scheduled otherwise has said so already.
func giveWay() {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return
	}
	attr.Policy = unix.SCHED_BATCH
	_ = unix.SchedSetAttr(0, attr, 0) // or they are as all others
}

// limitHoles has programs that this thread starts from now on punch holes into no files but those that they have by these descriptors; they are told that they did. See holes.go.
func limitHoles(descriptors []int) error {
	filter := holesFilter(descriptors)
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	return nil
}

// holesFilter is a program over struct seccomp_data.
func holesFilter(descriptors []int) []unix.SockFilter {
	const (
		offsetNumber, offsetArch, offsetFile, offsetMode = 0, 4, 16, 16 + 8 // the file is the first argument, the mode the second
		punchHole                                        = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	)
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	allow := unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW}
	is := func(value uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jt: yes, Jf: no}
	}
	filter := []unix.SockFilter{
		load(offsetArch), is(auditArch, 1, 0), allow,
		load(offsetNumber), is(unix.SYS_FALLOCATE, 1, 0), allow,
		load(offsetMode), is(punchHole, 1, 0), allow,
		load(offsetFile),
	}
	for _, descriptor := range descriptors {
		filter = append(filter, is(uint32(descriptor), 0, 1), allow)
	}
	return append(filter, unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO}) // with errno 0
}
