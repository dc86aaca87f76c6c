// Package nonblock reads and writes pipes and devices that never let a system call wait, without telling Go's scheduler of each call.
//
// Before a system call os.File gives its place in the scheduler up for the case that the call takes long, and asks for it afterwards. A guest mostly has one
// CPU, and an emulated one; there a call that copies 64 KiB takes long enough for the runtime to believe in that case: it wakes another thread, which
// finds nothing to do, and programs a timer of 20 microseconds to look again, all at the price of leaving the emulated CPU. A container's stdout
// took about 1.8 times as long so. A call that cannot wait needs none of it. Waiting itself is as with os.File: by the
// poller, with deadlines, ended by Close.
package nonblock

import (
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of returns a reader and writer of file, which stays the caller's. If file's calls may wait, that is file itself. Deadlines that were set before hold.
func Of(file *os.File) io.ReadWriter {
	raw, err := file.SyscallConn()
	if err != nil || blocks(raw) {
		return file
	}
	return descriptor{raw}
}

type descriptor struct{ raw syscall.RawConn }

// Read reads what is there and waits while there is nothing.
func (d descriptor) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	var errno syscall.Errno
	if err := d.raw.Read(func(fd uintptr) bool {
		n, errno = call(unix.SYS_READ, fd, p)
		return errno != unix.EAGAIN
	}); err != nil {
		return 0, err
	}
	switch {
	case errno != 0:
		return 0, errno
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write writes all of p and waits while there is no room.
func (d descriptor) Write(p []byte) (written int, err error) {
	for written < len(p) {
		var n int
		var errno syscall.Errno
		if err := d.raw.Write(func(fd uintptr) bool {
			n, errno = call(unix.SYS_WRITE, fd, p[written:])
			return errno != unix.EAGAIN
		}); err != nil {
			return written, err
		}
		switch {
		case errno != 0:
			return written, errno
		case n == 0:
			return written, io.ErrUnexpectedEOF // as os.File says it
		}
		written += n
	}
	return written, nil
}

// Now returns a function that writes as much as can be written without waiting, which may be nothing; nil if that cannot be done.
func Now(conn syscall.Conn) func(p []byte) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil || blocks(raw) {
		return nil
	}
	return func(p []byte) (written int, err error) {
		var errno syscall.Errno
		if err := raw.Write(func(fd uintptr) bool {
			for n := 1; n > 0 && written < len(p); written += n {
				n, errno = call(unix.SYS_WRITE, fd, p[written:])
			}
			return true
		}); err != nil {
			return written, err
		}
		if errno != 0 && errno != unix.EAGAIN {
			return written, errno
		}
		return written, nil
	}
}

// blocks reports whether calls may wait.
func blocks(raw syscall.RawConn) bool {
	blocking := true
	err := raw.Control(func(fd uintptr) {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		blocking = err != nil || flags&unix.O_NONBLOCK == 0
	})
	return err != nil || blocking
}

// call makes the system call, again after a signal: the poller would not tell of readiness that it has told of before.
func call(number, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
