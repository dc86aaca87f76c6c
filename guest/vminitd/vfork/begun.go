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

// Begun is a process that has executed.
type Begun struct {
	Pid   int
	pidfd atomic.Int32
	ended bool // known since Begin
}

// Values of a descriptor that is not there yet, and that never will be.
const (
	none  = -1
	never = -2
)

// kill kills it, as soon as there is something to be killed.
func (b *Begun) kill() {
	for fd := b.pidfd.Load(); fd != never; fd = b.pidfd.Load() {
		// The kernel tells the descriptor's number a moment before there is the descriptor.
		if fd >= 0 && !errors.Is(unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0), unix.EBADF) {
			return
		}
		runtime.Gosched()
	}
}

// Close lets go of it.
func (b *Begun) Close() error { return unix.Close(int(b.pidfd.Load())) }

// Alone is for how long Go's runtime may be held up for a process that the only CPU is busy with anyway: whatever it does on hearing that a thread waits, the process would have to wait for that, and what it does
// when the thread comes back who waits for the end. In an emulated machine `true` takes half of it.
const Alone = 10 * time.Millisecond

// AwaitEnd returns when the process has ended, or after some time, or when ctx ends, whichever comes first; before that only where it cannot wait.
func (b *Begun) AwaitEnd(ctx context.Context, patience time.Duration) {
	if b.ended {
		return
	}
	fd, err := unix.FcntlInt(uintptr(b.pidfd.Load()), unix.F_DUPFD_CLOEXEC, 3)
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
