package vfork

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Begun is a process that has begun with its script.
type Begun struct {
	Pid    int
	script *Script
	pidfd  *int32
	within *uint32 // not 0 while it is in this process's memory; the kernel clears it, and wakes who waits for that
}

// alone is for how long Go's runtime may be held up for a process that the only CPU is busy with anyway. In an emulated machine `true` takes half of it.
const alone = 10 * time.Millisecond

// AwaitEnd returns when the process has ended, or after some time, or when ctx ends, whichever comes first; before that only where it cannot wait.
func (b *Begun) AwaitEnd(ctx context.Context, patience time.Duration) {
	// Whatever the runtime does on hearing that a thread waits, the process would have to wait for that, and what it does when the thread comes back who waits for the end.
	if runtime.GOMAXPROCS(0) == 1 && over(*b.pidfd, min(patience, alone)) {
		return
	}
	fd, err := unix.FcntlInt(uintptr(*b.pidfd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return
	}
	err = unix.SetNonblock(fd, true) // or else it would not be polled
	process := os.NewFile(uintptr(fd), "process")
	defer func() { _ = process.Close() }()
	raw, rawErr := process.SyscallConn()
	if errors.Join(err, rawErr, process.SetReadDeadline(time.Now().Add(patience))) != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = process.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = raw.Read(func(fd uintptr) bool { return over(int32(fd), 0) }) // fails when the time is over
}

// over reports whether a process has ended, by its descriptor, once it has, or after some time.
func over(pidfd int32, patience time.Duration) bool {
	process := unix.PollFd{Fd: pidfd, Events: unix.POLLIN}
	left := unix.NsecToTimespec(int64(patience)) // what the kernel leaves of it, after a signal
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&process)), 1, uintptr(unsafe.Pointer(&left)), 0, 0, 0)
		if errno != unix.EINTR {
			return errno == 0 && n > 0
		}
	}
}

// Executed returns once the process has executed its program, or with an Error; then it is about to end. It is killed if ctx ends meanwhile. That it was killed by others, before it has executed, is no
// error: its end tells it. To be called once.
func (b *Begun) Executed(ctx context.Context) error {
	if ctx.Err() == nil && atomic.LoadUint32(b.within) == 0 { // mostly, where its end was awaited
		return errors.Join(unix.Close(int(*b.pidfd)), b.failure())
	}
	over := make(chan struct{})
	var killErr error
	stop := context.AfterFunc(ctx, func() {
		defer close(over)
		killErr = unix.PidfdSendSignal(int(*b.pidfd), unix.SIGKILL, nil, 0)
	})
	for {
		within := atomic.LoadUint32(b.within)
		if within == 0 {
			break
		}
		await(b.within, within)
	}
	killed := !stop()
	if killed {
		<-over
		if errors.Is(killErr, unix.ESRCH) { // it had ended
			killErr = nil
		}
	}
	if err := errors.Join(killErr, unix.Close(int(*b.pidfd))); err != nil {
		return err
	}
	if killed {
		return ctx.Err()
	}
	return b.failure()
}

// failure says which call has failed, of a process that does not go through its script any more.
func (b *Begun) failure() error {
	for i, c := range b.script.calls {
		if failed(c.result) {
			return &Error{Call: b.script.names[i], Cause: syscall.Errno(-c.result)}
		}
	}
	return nil
}

//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// await waits until a word changes, or is told to have; or not. Go's runtime is told that this thread will be away for long: programs are read from disks, and from who does not answer. Without that, all
// others would have to wait for it.
//
//go:nosplit
//go:norace
func await(word *uint32, value uint32) {
	entersyscallblock()
	syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(value), 0, 0, 0)
	exitsyscall()
}

// futexWait is FUTEX_WAIT, of a word that is another process's as well.
const futexWait = 0
