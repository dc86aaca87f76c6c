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
	if request.Kind == supervisorv1.StreamKind_STREAM_KIND_EXECUTE {
		return s.serveExecute(ctx, conn)
	}
	join, err := s.joinStream(ctx, &request, conn)
	if err != nil {
		refusal := &supervisorv1.StreamResponse{Error: err.Error()}
		return errors.Join(err, agent.WriteHeader(conn, refusal), conn.Close())
	}
	return join()
}

// joinStream finds the stream that a client wants. Join tells the client that it has it, and passes bytes until either ends, or hands the connection over to who
// does.
func (s *supervision) joinStream(ctx context.Context, request *supervisorv1.StreamRequest, conn net.Conn) (join func() error, err error) {
	greet := func() error {
		return errors.Join(agent.WriteHeader(conn, &supervisorv1.StreamResponse{}), conn.SetDeadline(time.Time{}))
	}
	if request.ProcessId != "" {
		number := int(request.Kind) - int(supervisorv1.StreamKind_STREAM_KIND_STDIN)
		attached, err := s.box.AttachProcess(request.ProcessId, number, conn)
		if err != nil {
			return nil, err
		}
		return func() error {
			err := greet()
			if err != nil {
				err = errors.Join(err, conn.Close()) // attached all the same, so that its end is noticed
			}
			return errors.Join(err, attached(), conn.Close())
		}, nil
	}
	switch request.Kind {
	case supervisorv1.StreamKind_STREAM_KIND_FILES:
		return s.joinFiles(ctx, conn, greet)
	case supervisorv1.StreamKind_STREAM_KIND_STDIN:
		return func() error {
			// A client that sends nothing would keep this goroutine; the end of the sandbox closes its connection.
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			if err := greet(); err != nil {
				return errors.Join(err, conn.Close())
			}
			// The end of input is a character of a terminal: who leaves it may come again.
			last := request.CloseStdin && !s.container.Process.Terminal
			return errors.Join(s.box.Stdin.Copy(ctx, conn, last), conn.Close())
		}, nil
	case supervisorv1.StreamKind_STREAM_KIND_STDOUT: // which closes the connection
		return func() error { return s.box.Stdout.Attach(conn, greet) }, nil
	case supervisorv1.StreamKind_STREAM_KIND_STDERR:
		return func() error { return s.box.Stderr.Attach(conn, greet) }, nil
	}
	return nil, errors.New("there is no such stream")
}
