package vsock

import "golang.org/x/sys/unix"

// SendBuffer has a socket keep size bytes of what is sent and not read yet, as far as the machine allows, and never less than before.
func SendBuffer(socket, size int) {
	before, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_SNDBUF) // twice what can be asked for, see socket(7)
	if err != nil || before >= 2*size || unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_SNDBUF, size) != nil {
		return
	}
	if after, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil && after < before { // the machine's default may be above what can be asked for
		_ = unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_SNDBUF, before/2)
	}
}
