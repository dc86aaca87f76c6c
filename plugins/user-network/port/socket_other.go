//go:build !linux

package port

import "golang.org/x/sys/unix"

// bufferSize is wanted of a socket: frames are large. Kernels of the BSD kind refuse what is above their bound, so that it is halved until taken.
const bufferSize = 8 << 20

func prepare(fd int) {
	for _, option := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
		for size := bufferSize; size >= 256<<10 && unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, size) != nil; size /= 2 {
		}
	}
}
