package sockets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vzctl/vzctl/guest/relay"
	"github.com/vzctl/vzctl/guest/vminitd/stdio"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Stream is a connection of the host to a socket of the container. It is used as a stream of a process is, once.
type Stream struct {
	set    *Set
	socket Socket
	root   func() (*os.File, error)
	local  *net.UnixConn
}

// dialPatience is how long a process of the container may take for a connection: one that listens, and accepts none, does not hold a slot for ever.
const dialPatience = 10 * time.Second

// Stream returns a connection to be made to a socket at which a process of the container listens. root opens the container's root as its processes see it.
func (s *Set) Stream(id string, root func() (*os.File, error)) (*Stream, error) {
	if s != nil {
		if socket, ok := s.inward[id]; ok {
			return &Stream{set: s, socket: socket, root: root}, nil
		}
	}
	return nil, &fault.Error{Reason: fault.NotFound, Op: "find socket", Subject: id}
}

// Claim connects to the process.
func (s *Stream) Claim(stdio.Conn) error {
	select {
	case s.set.within <- struct{}{}:
	default:
		return fmt.Errorf("socket %s: there are %d connections already", s.socket.Path, maxConnections)
	}
	err := s.connect()
	if err != nil {
		<-s.set.within
		return fmt.Errorf("connect to %s: %w", s.socket.Path, err)
	}
	s.set.open.Add(1)
	return nil
}

func (s *Stream) connect() error {
	if s.set.ctx.Err() != nil {
		return errors.New("the container is being deleted")
	}
	root, err := s.root()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	ctx, cancel := context.WithTimeout(s.set.ctx, dialPatience)
	defer cancel()
	s.local, err = dialIn(ctx, root, s.socket.Path)
	return err
}

// Serve moves bytes until the connection has ended.
func (s *Stream) Serve(conn stdio.Conn) {
	defer func() {
		s.set.open.Add(-1)
		<-s.set.within
	}()
	relay.Join(s.set.ctx, conn, s.local)
}

// Freed never comes: nobody waits for a connection to be free.
func (s *Stream) Freed() <-chan struct{} { return nil }
