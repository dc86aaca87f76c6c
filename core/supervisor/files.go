package supervisor

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/vzctl/vzctl/core/lifecycle"
	supervisorv1 "github.com/vzctl/vzctl/core/proto/vzctl/supervisor/v1"
)

// joinFiles connects a client with the guest for one use of the container's files. What they say to each other is theirs.
func (s *supervision) joinFiles(ctx context.Context, conn net.Conn, greet func() error) (join func() error, err error) {
	if err := s.running(lifecycle.Exec); err != nil {
		return nil, err
	}
	guest, err := s.box.OpenFiles(ctx)
	if err != nil {
		return nil, err
	}
	return func() error {
		closeBoth := func() { _, _ = conn.Close(), guest.Close() }
		defer closeBoth()
		// The end of the sandbox ends it.
		stop := context.AfterFunc(ctx, closeBoth)
		defer stop()
		if err := greet(); err != nil {
			return err
		}
		var up error
		var both sync.WaitGroup
		both.Go(func() {
			if up = pass(guest, conn); up != nil {
				closeBoth()
			}
		})
		down := pass(conn, guest)
		closeBoth() // the guest has said all, also to a client that still sends
		both.Wait()
		if down != nil {
			return errors.Join(down, up)
		}
		return nil
	}, nil
}

// pass copies until the end, and says it.
func pass(to, from net.Conn) error {
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// OpenFiles connects to the guest's agent for one use of the container's files, see agent.UseFiles. The caller closes the connection.
func (c *Client) OpenFiles(ctx context.Context) (net.Conn, error) {
	return c.openStream(ctx, &supervisorv1.StreamRequest{Kind: supervisorv1.StreamKind_STREAM_KIND_FILES}, "use the container's files")
}
