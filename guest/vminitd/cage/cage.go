// Package cage runs programs of an image where they can do nothing but run: in a machine that emulates its CPU, what they run is translated then, and machines that are copied from this one need not do that again.
//
// A program in its cage has the image for its root, read-only and without devices, nobody's identity, no capability, no file but /dev/null, little memory and little time. Its first system call that could have an effect on anything
// outside ends it: it is killed by a filter that knows some forty, which read files and arrange the process's own memory.
package cage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/cgroup"
	"github.com/vzctl/vzctl/guest/vminitd/reap"
	"github.com/vzctl/vzctl/guest/vminitd/vfork"
)

// nobody's user and group.
const nobody = 65534

// Limits of a program.
const (
	maxMemory = 48 << 20 // bytes, with what it reads of files
	maxFiles  = 64
)

// name is that of the program's cgroup: there is no container yet that could have it.
const name = "cage"

// Run runs a program by its path below root, a directory, without arguments, and kills it when ctx ends. It returns once the program has ended, however that was; an error says that it was not begun.
func Run(ctx context.Context, reaper *reap.Reaper, root, program string) (err error) {
	group, err := cgroup.Create(name)
	if err != nil {
		return fmt.Errorf("make a cage: %w", err)
	}
	defer func() { err = errors.Join(err, group.Remove()) }()
	most, one := int64(maxMemory), int64(1)
	if err := group.Limit(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &most}, Pids: &specs.LinuxPids{Limit: &one}}); err != nil {
		return err
	}
	dir, err := enclose(root)
	if err != nil {
		return fmt.Errorf("make a cage: %w", err)
	}
	defer func() { _ = dir.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	s, err := script(dir, null, program)
	if err != nil {
		return err
	}
	var failed error
	child, err := reaper.Start(func() (pid int, err error) {
		if pid, failed = s.Run(ctx, group.Directory()); pid > 0 {
			return pid, nil // its end is waited for, whatever has become of it
		}
		return 0, failed
	})
	if err != nil {
		return err
	}
	select {
	case <-child.Done():
	case <-ctx.Done():
		_ = child.Signal(unix.SIGKILL) // if it has not just ended
		<-child.Done()
	}
	if ctx.Err() != nil {
		return nil // that is all the time it has
	}
	return failed
}

// enclose returns the directory mounted once more, for nobody else: read-only, without devices and identities.
func enclose(root string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, root, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("open_tree", err)
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attr); err != nil {
		return nil, errors.Join(os.NewSyscallError("mount_setattr", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "cage"), nil
}

// script is what the process does before it is the program.
func script(dir, null *os.File, program string) (*vfork.Script, error) {
	s := &vfork.Script{}
	s.Call("begin a session", unix.SYS_SETSID)
	s.Call("enter the root", unix.SYS_FCHDIR, dir.Fd())
	s.Call("take the root", unix.SYS_CHROOT, vfork.Pointer(s, &[]byte(".\x00")[0]))
	for stream := range uintptr(3) {
		s.Call("take a stream", unix.SYS_DUP3, null.Fd(), stream, 0)
	}
	s.Call("close what is the machine's", unix.SYS_CLOSE_RANGE, 3, uintptr(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC)
	for _, limit := range [][2]uint64{{unix.RLIMIT_NOFILE, maxFiles}, {unix.RLIMIT_CORE, 0}, {unix.RLIMIT_FSIZE, 0}} {
		s.Call("set a limit", unix.SYS_PRLIMIT64, 0, uintptr(limit[0]), vfork.Pointer(s, &unix.Rlimit{Cur: limit[1], Max: limit[1]}), 0)
	}
	s.Call("set groups", unix.SYS_SETGROUPS, 0, 0)
	s.Call("become nobody", unix.SYS_SETRESGID, nobody, nobody, nobody)
	s.Call("become nobody", unix.SYS_SETRESUID, nobody, nobody, nobody) // which takes all capabilities
	s.Call("be looked into by nobody", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	s.Call("set no-new-privileges", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	s.UnblockSignals()
	program, filter := path.Join("/", program), filter()
	head := vfork.Pointer(s, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	s.Call("install a system call filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, head)
	return s, s.Execute(program, []string{program}, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
}

// Of struct seccomp_data.
const (
	numberOffset  = uint32(unsafe.Offsetof(seccompData{}.number))
	archOffset    = uint32(unsafe.Offsetof(seccompData{}.arch))
	commandOffset = uint32(unsafe.Offsetof(seccompData{}.args)) + 8 // the second argument's lower half
)

type seccompData struct {
	number, arch uint32
	_            uint64
	args         [6]uint64
}

// filter lets through what is harmless, and kills for all else.
func filter() []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	result := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	equal := func(value uint32, then, otherwise uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: then, Jf: otherwise, K: value}
	}
	allowed := func(values []uint32, otherwise uint32) (f []unix.SockFilter) {
		for i, value := range values {
			f = append(f, equal(value, uint8(len(values)-i), 0))
		}
		return append(f, result(otherwise), result(unix.SECCOMP_RET_ALLOW))
	}
	f := []unix.SockFilter{load(archOffset), equal(auditArch, 1, 0), result(unix.SECCOMP_RET_KILL_PROCESS), load(numberOffset)}
	commands := append([]unix.SockFilter{load(commandOffset)}, allowed(harmlessCommands, unix.SECCOMP_RET_KILL_PROCESS)...)
	f = append(f, equal(unix.SYS_FCNTL, 0, uint8(len(commands))))
	return slices.Concat(f, commands, allowed(slices.Concat(harmless, harmlessHere), unix.SECCOMP_RET_KILL_PROCESS))
}

// harmlessCommands are those of fcntl(2).
var harmlessCommands = []uint32{unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL}

// harmless are system calls that a program in its cage can change nothing by but itself. It cannot open to write, as all that it sees is read-only.
var harmless = []uint32{
	unix.SYS_READ, unix.SYS_READV, unix.SYS_PREAD64, unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_LSEEK, unix.SYS_OPENAT, unix.SYS_CLOSE, unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2,
	unix.SYS_READLINKAT, unix.SYS_GETDENTS64, unix.SYS_GETCWD, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_FADVISE64,
	unix.SYS_BRK, unix.SYS_MMAP, unix.SYS_MPROTECT, unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_MADVISE,
	unix.SYS_SET_TID_ADDRESS, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_SIGALTSTACK,
	unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_PRLIMIT64, unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_CLOCK_GETTIME, unix.SYS_GETRANDOM,
	unix.SYS_SCHED_GETAFFINITY, unix.SYS_FUTEX, unix.SYS_EXECVE, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}
