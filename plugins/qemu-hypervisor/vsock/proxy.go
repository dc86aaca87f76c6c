package vsock

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/vzctl/vzctl/guest/serialmux"
)

// bufferSize is how much is taken from the host at once, in bytes: what serialmux puts into a frame.
const bufferSize = 64 << 10

// sendBuffer is what the kernel is to keep for a client that reads late, in bytes, as far as the machine allows: the guest may go on as soon as that much is off our hands.
const sendBuffer = 1 << 20

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// proxy moves bytes both ways until both directions have ended, or the connection has failed. Both ends are closed then.
func proxy(host *net.UnixConn, guest *serialmux.Conn) {
	var work sync.WaitGroup
	over := make(chan struct{})
	work.Go(func() {
		select {
		case <-guest.Broken(): // nothing from the host is wanted any more, but what the guest sent before is
			_ = host.SetReadDeadline(time.Unix(1, 0))
		case <-over:
		}
	})
	if raw, err := host.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { SendBuffer(int(fd), sendBuffer) }) // if it is closed already, what follows says so
	}
	toHost := make(chan struct{})
	work.Go(func() {
		defer close(toHost)
		_, err := guest.WriteTo(host)
		if err == nil {
			err = host.CloseWrite()
		}
		if err != nil {
			guest.Reset()
			_ = host.Close() // ends the other direction
		}
	})
	if reading, err := toGuest(guest, host); err != nil && reading && !errors.Is(err, os.ErrDeadlineExceeded) {
		guest.Reset() // the client broke off
	}
	<-toHost
	close(over)
	_ = host.Close()
	_ = guest.Close()
	work.Wait()
}

// toGuest copies to the end and then ends the guest's direction. reading tells that an error was the reader's.
func toGuest(guest *serialmux.Conn, host io.Reader) (reading bool, err error) {
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	for {
		n, err := host.Read(buffer[:])
		if n > 0 {
			if _, err := guest.Write(buffer[:n]); err != nil {
				return false, err
			}
		}
		if err == io.EOF {
			return false, guest.CloseWrite()
		}
		if err != nil {
			return true, err
		}
	}
}
