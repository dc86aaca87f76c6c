package supervisor

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/vzctl/vzctl/core/agent"
	supervisorv1 "github.com/vzctl/vzctl/core/proto/vzctl/supervisor/v1"
)

// headerTimeout bounds how long a client may take to say which stream it wants.
const headerTimeout = 10 * time.Second

// serveStreams accepts connections on the stream socket until it is closed. Only the user can reach the socket.
func (s *supervision) serveStreams(ctx context.Context, listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.log.Error("no more streams can be attached", "error", err)
			}
			return
		}
		s.clients.Go(func() {
			if err := s.serveStream(ctx, conn); err != nil && !errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
				s.log.Debug("a stream ended early", "error", err)
			}
		})
	}
}

func (s *supervision) serveStream(ctx context.Context, conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(headerTimeout)); err != nil {
		return errors.Join(err, conn.Close())
	}
	var request supervisorv1.StreamRequest
	if err := agent.ReadHeader(conn, &request); err != nil {
		return errors.Join(err, conn.Close())
	}
	if err := errors.Join(agent.WriteHeader(conn, &supervisorv1.StreamResponse{}), conn.SetDeadline(time.Time{})); err != nil {
		return errors.Join(err, conn.Close())
	}
	number := int(request.Kind) - int(supervisorv1.StreamKind_STREAM_KIND_STDIN)
	if request.ProcessId != "" {
		return errors.Join(s.box.AttachProcess(request.ProcessId, number, conn), conn.Close())
	}
	switch request.Kind {
	case supervisorv1.StreamKind_STREAM_KIND_STDIN:
		// A client that is not reading its end would keep this goroutine; the end of the sandbox closes it.
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer stop()
		return errors.Join(s.box.Stdin.Copy(ctx, conn, request.CloseStdin), conn.Close())
	case supervisorv1.StreamKind_STREAM_KIND_STDOUT:
		s.box.Stdout.Attach(conn) // which closes it
		return nil
	case supervisorv1.StreamKind_STREAM_KIND_STDERR:
		s.box.Stderr.Attach(conn)
		return nil
	}
	return errors.Join(errors.New("a client asked for an unknown stream"), conn.Close())
}
