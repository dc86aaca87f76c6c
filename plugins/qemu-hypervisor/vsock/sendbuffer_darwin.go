package vsock

import "golang.org/x/sys/unix"

// SendBuffer has a socket keep size bytes of what is sent and not read yet, as far as the machine allows, and never less than before.
func SendBuffer(socket, size int) {
	if before, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil && before < size {
		_ = unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_SNDBUF, size)
	}
}
