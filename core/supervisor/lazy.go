package supervisor

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// lazy is a connection for calls that is made with the first one: who executes a brief process makes none.
type lazy struct {
	dial func(context.Context, string) (net.Conn, error)

	mu     sync.Mutex
	conn   *grpc.ClientConn
	closed bool
}

func (l *lazy) connect() (*grpc.ClientConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, status.FromContextError(context.Canceled).Err()
	}
	var err error
	if l.conn == nil {
		l.conn, err = grpc.NewClient("passthrough:///supervisor", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
			grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0), grpc.WithContextDialer(l.dial))
	}
	return l.conn, err
}

// Invoke implements grpc.ClientConnInterface.
func (l *lazy) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn, err := l.connect()
	if err != nil {
		return err
	}
	return conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (l *lazy) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, err := l.connect()
	if err != nil {
		return nil, err
	}
	return conn.NewStream(ctx, desc, method, opts...)
}

// Close ends the calls that are under way.
func (l *lazy) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.conn == nil {
		return nil
	}
	return l.conn.Close()
}
