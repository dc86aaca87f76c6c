package serialmux

import (
	"io"
	"syscall"

	"github.com/vzctl/vzctl/guest/nonblock"
)

// now returns how to write to a pipe what can be written without waiting; nil if that cannot be known.
func now(pipe io.ReadWriteCloser) func([]byte) (int, error) {
	if conn, ok := pipe.(syscall.Conn); ok {
		return nonblock.Now(conn)
	}
	return nil
}
