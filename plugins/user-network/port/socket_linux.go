package port

import "golang.org/x/sys/unix"

// bufferSize is wanted of a socket: frames are large. The kernel gives less to an unprivileged process, which costs only speed.
const bufferSize = 8 << 20

func prepare(fd int) {
	_ = unix.Fchmod(fd, 0o600)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferSize) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, bufferSize)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bufferSize)
	}
}
