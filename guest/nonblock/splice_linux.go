package nonblock

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// PipeOrderFile is there with our kernel alone, see "Pages of pipes" in kernel/README.md: it holds the order of the pages of pipes whose size is set by who may exceed limits. With it comes a driver of virtio-serial ports that takes any page of a pipe.
const PipeOrderFile = "/proc/sys/fs/pipe-write-order"

// Fill moves up to most bytes from what from is of, by the page, into a pipe that is empty, and waits while there are none. 0 is the end of file.
func Fill(pipe int, from syscall.RawConn, most int) (n int, err error) {
	var errno syscall.Errno
	if err := from.Read(func(fd uintptr) bool {
		n, errno = splice(int(fd), pipe, most)
		return errno != unix.EAGAIN
	}); err != nil {
		return 0, err
	}
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

// Splice moves the n bytes that a pipe holds, by the page, to what to is of, and waits while there is no room.
//
// It is always all of the pipe. The driver of virtio-serial ports, but for our kernel's, gives the host a descriptor for each page that is in the pipe, also for those that it was not
// asked for, and these are empty: QEMU breaks the device off then.
func Splice(to syscall.RawConn, pipe, n int) error {
	for n > 0 {
		var moved int
		var errno syscall.Errno
		if err := to.Write(func(fd uintptr) bool {
			moved, errno = splice(pipe, int(fd), n)
			return errno != unix.EAGAIN
		}); err != nil {
			return err
		}
		switch {
		case errno != 0:
			return errno
		case moved == 0:
			return io.ErrUnexpectedEOF
		}
		n -= moved
	}
	return nil
}

// CanSplice says, by an error, whether Splice cannot move anything to what to is of. pipe is an empty pipe whose writing end is open.
func CanSplice(to syscall.RawConn, pipe int) error {
	var errno syscall.Errno
	if err := to.Control(func(fd uintptr) { _, errno = splice(pipe, int(fd), 1) }); err != nil {
		return err
	}
	switch errno {
	case 0, unix.EAGAIN: // there is nothing to move
		return nil
	case unix.EINVAL:
		return errors.ErrUnsupported
	}
	return errno
}

func splice(from, to, n int) (int, syscall.Errno) {
	for {
		moved, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_NONBLOCK)
		switch errno {
		case 0:
			return int(moved), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
