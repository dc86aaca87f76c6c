// Package relay moves bytes between two connections, in the guest and on the host alike.
package relay

import (
	"context"
	"io"
	"net"
	"sync"
)

// Conn is a connection each of whose directions can end by itself.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Join moves bytes both ways until both directions have ended, either side has failed, or ctx has ended, and closes both connections. The end of one
// direction is passed on while the other goes on. Nothing is gathered but one buffer for each direction: who does not read holds up who writes.
func Join(ctx context.Context, a, b Conn) {
	end := func() {
		_ = a.Close()
		_ = b.Close()
	}
	defer end()
	stop := context.AfterFunc(ctx, end)
	defer stop()
	var work sync.WaitGroup
	move := func(to, from Conn) {
		_, err := io.Copy(to, from)
		if err == nil {
			err = to.CloseWrite()
		}
		if err != nil {
			end()
		}
	}
	work.Go(func() { move(a, b) })
	move(b, a)
	work.Wait()
}
