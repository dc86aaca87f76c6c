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

var buffers = sync.Pool{New: func() any { return new([serialmux.MaxFrame]byte) }}

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
	toHost := make(chan struct{})
	work.Go(func() {
		defer close(toHost)
		if _, err := move(host, guest); err != nil {
			guest.Reset()
			_ = host.Close() // ends the other direction
		}
	})
	if reading, err := move(guest, host); err != nil && reading && !errors.Is(err, os.ErrDeadlineExceeded) {
		guest.Reset() // the client broke off
	}
	<-toHost
	close(over)
	_ = host.Close()
	_ = guest.Close()
	work.Wait()
}

type writer interface {
	io.Writer
	CloseWrite() error
}

// move copies to the end and then ends the other side's direction. reading tells that an error was the reader's.
func move(to writer, from io.Reader) (reading bool, err error) {
	buffer := buffers.Get().(*[serialmux.MaxFrame]byte)
	defer buffers.Put(buffer)
	for {
		n, err := from.Read(buffer[:])
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return false, err
			}
		}
		if err == io.EOF {
			return false, to.CloseWrite()
		}
		if err != nil {
			return true, err
		}
	}
}
