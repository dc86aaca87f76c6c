package command

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is what a pipe on stdout or stderr is to hold, in bytes: all that is on its way from the container at once, and the most that Linux gives an ordinary user.
const pipeSize = 1 << 20

// enlarge lets a pipe hold more, so that its reader and we take turns less often. What is no pipe, or may not, stays as it is.
func enlarge(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if size, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0); err == nil && size < pipeSize {
			_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize)
		}
	})
}
