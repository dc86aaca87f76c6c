// Package vfork makes a process that goes through a list of system calls and then executes a program, without a line of Go: it begins in its parent's memory,
// which would otherwise have to be copied, and with it all that a program costs that is executed in between. The parent's thread waits until then, as with vfork(2), and only that thread. So the kernel also
// knows that this memory is another's, when it looks for who has most of it.
//
// The list is made by Go, before; vfork_*.s goes through it. begun.go is what the parent hears of the process.
package vfork

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is a system call. The layout is known to vfork_*.s.
type call struct {
	number uintptr
	args   [5]uintptr
	result uintptr // -errno if it failed, after which nothing else is done
}

// Script is what a process does, in order. The zero value does nothing yet.
type Script struct {
	calls []call
	names []string // of the calls
	keep  []any    // what their arguments point to
}

// UnblockSignals has the process take signals from here on, which end it if they are not ignored: no handler of its parent's is left to it.
func (s *Script) UnblockSignals() {
	s.Call("unblock signals", unix.SYS_RT_SIGPROCMASK, sigSetmask, Pointer(s, new(uint64)), 0, sigsetSize)
}

// Call adds a system call, which must succeed; name is for errors. Arguments that are addresses come from Pointer.
func (s *Script) Call(name string, number uintptr, args ...uintptr) {
	if s.calls == nil { // room for what most have
		s.calls, s.names = make([]call, 0, usual), make([]string, 0, usual)
	}
	c := call{number: number}
	copy(c.args[:], args)
	s.calls, s.names = append(s.calls, c), append(s.names, name)
}

// Append adds all calls of another script, whose arguments are to be read only: it may be a part of many.
func (s *Script) Append(other *Script) {
	s.calls, s.names = append(s.calls, other.calls...), append(s.names, other.names...)
	s.keep = append(s.keep, other)
}

// usual is how many calls most scripts have, at most.
const usual = 32

// Pointer returns the address of what p points to, which stays where it is for as long as the script is in use.
func Pointer[T any](s *Script, p *T) uintptr {
	s.keep = append(s.keep, p) // and so it is no variable of a stack, which moves
	return uintptr(unsafe.Pointer(p))
}

// Execute ends the script.
func (s *Script) Execute(path string, args, env []string) error {
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return err
	}
	return s.execute(args, env, func(argv, envv uintptr) { s.Call("execute", unix.SYS_EXECVE, Pointer(s, name), argv, envv) })
}

// ExecuteFile ends the script with a program that is open.
func (s *Script) ExecuteFile(fd int, args, env []string) error {
	return s.execute(args, env, func(argv, envv uintptr) {
		s.Call("execute", unix.SYS_EXECVEAT, uintptr(fd), Pointer(s, new(byte)), argv, envv, unix.AT_EMPTY_PATH)
	})
}

func (s *Script) execute(args, env []string, call func(argv, envv uintptr)) error {
	argv, err := syscall.SlicePtrFromStrings(args)
	if err != nil {
		return err
	}
	envv, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return err
	}
	call(Pointer(s, &argv[0]), Pointer(s, &envv[0]))
	return nil
}

const (
	sigSetmask = 2 // SIG_SETMASK
	sigsetSize = 8
)

// cloneArgs is the kernel's struct clone_args, its first version that knows cgroups.
type cloneArgs struct {
	flags, pidfd, _, _, exitSignal, _, _, _, _, _, cgroup uint64
}

// frame is what vfork_*.s gets.
type frame struct {
	clone *cloneArgs
	size  uintptr
	calls *call
	count uintptr
}

// vfork makes the process, and returns in the parent alone.
//
//go:noescape
func vfork(f *frame) (result uintptr)

// timerSlack is what processes have from the kernel on, in nanoseconds. A new one has it, whatever the thread has that makes it (package sysmon).
const timerSlack = 50_000

// Calm has the processes that f makes have the kernel's timer slack, also as what they fall back to.
func Calm(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slack := exchangeSlack(timerSlack)
	defer setSlack(slack)
	f()
}

// exchangeSlack sets that of the thread, and returns what it was.
func exchangeSlack(to uintptr) (before uintptr) {
	before, _, _ = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_GET_TIMERSLACK, 0, 0, 0, 0, 0)
	setSlack(to)
	return before
}

func setSlack(to uintptr) {
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, to, 0, 0, 0, 0)
}

// Begin makes the process in a cgroup, by its directory, or in the parent's, and returns once it has executed its program, or with an Error; then there is no process, or one that is about to
// end, which is returned as well. It is killed if ctx ends meanwhile. That it was killed by others, before it has executed, is no error: its end tells it, which may come before Begin returns.
// With patience, and one CPU, it returns later: when the process has ended, or after Alone if that is less. The caller closes what it gets.
func (s *Script) Begin(ctx context.Context, cgroup *os.File, patience time.Duration) (b *Begun, err error) {
	args := &cloneArgs{flags: unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND, exitSignal: uint64(unix.SIGCHLD)}
	if cgroup == nil {
		return s.begin(ctx, args, patience)
	}
	args.flags |= unix.CLONE_INTO_CGROUP
	raw, err := cgroup.SyscallConn()
	if err != nil {
		return nil, err
	}
	if controlErr := raw.Control(func(fd uintptr) { // which is that directory for so long, whoever closes it
		args.cgroup = uint64(fd)
		b, err = s.begin(ctx, args, patience)
	}); controlErr != nil {
		return nil, controlErr
	}
	return b, err
}

func (s *Script) begin(ctx context.Context, args *cloneArgs, patience time.Duration) (*Begun, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b := &Begun{}
	b.pidfd.Store(none)
	args.pidfd = uint64(Pointer(s, &b.pidfd))
	f := &frame{clone: args, size: unsafe.Sizeof(*args), calls: &s.calls[0], count: uintptr(len(s.calls))}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		b.kill()
	})
	slack := exchangeSlack(timerSlack)
	// A handler of ours must not run in the new process.
	all, before := new(uint64), new(uint64)
	*all = ^uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(all)), uintptr(unsafe.Pointer(before)), sigsetSize, 0, 0)
	result := waiting(f)
	// The kernel has this thread run as soon as the process has executed. Whatever else it does before it waits again, the process has to wait for, and to find its way in the CPU's tables anew after that.
	if patience > 0 && !failed(result) && runtime.GOMAXPROCS(0) == 1 {
		b.ended = over(b.pidfd.Load(), min(patience, Alone))
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(before)), 0, sigsetSize, 0, 0)
	setSlack(slack)
	made := !failed(result)
	if !made {
		b.pidfd.Store(never)
	}
	runtime.KeepAlive(f)
	runtime.KeepAlive(args)
	defer runtime.KeepAlive(s)
	killed := !stop()
	if killed {
		<-done
	}
	if !made {
		return nil, &Error{Call: "clone", Cause: syscall.Errno(-result)}
	}
	b.Pid = int(result)
	if killed {
		return b, ctx.Err()
	}
	for i, c := range s.calls {
		if failed(c.result) {
			return b, &Error{Call: s.names[i], Cause: syscall.Errno(-c.result)}
		}
	}
	return b, nil
}

//go:linkname entersyscall runtime.entersyscall
func entersyscall()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// waiting tells Go's runtime that this thread may be away for long: programs are read from disks, and from who does not answer. Without that, all others would have to wait for it. With it they do until the
// runtime looks after its threads (package sysmon); to have another thread take over at once would be work at a moment in which the process wants the CPU, and mostly it is back by then.
//
//go:nosplit
//go:norace
func waiting(f *frame) uintptr {
	entersyscall()
	result := vfork(f)
	exitsyscall()
	return result
}

// Run is Begin. The pid is that of a process that is about to end, too, after an error; 0: there never was one.
func (s *Script) Run(ctx context.Context, cgroup *os.File) (pid int, err error) {
	b, err := s.Begin(ctx, cgroup, 0)
	if b == nil {
		return 0, err
	}
	return b.Pid, errors.Join(err, b.Close())
}

// failed reports whether the result of a system call is an error's.
func failed(result uintptr) bool { return result > ^uintptr(4095) }

// Error says which call has failed.
type Error struct {
	Call  string
	Cause error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Call, e.Cause) }

// Unwrap returns the kernel's error.
func (e *Error) Unwrap() error { return e.Cause }
