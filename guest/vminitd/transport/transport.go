// Package transport is the way between guest and host: real vsock, or connections over a virtio-serial port. vminitd takes the one it finds and
// does not know which.
package transport

import (
	"context"
	"fmt"
	"net"

	"github.com/mdlayher/vsock"

	"github.com/vzctl/vzctl/guest/serialmux"
)

// Transport carries connections by port. Listeners outlive the loss of the host's end; connections do not.
type Transport interface {
	Listen(port uint32) (net.Listener, error)
	// Dial connects to a port of the host.
	Dial(ctx context.Context, port uint32) (net.Conn, error)
	// Hint tells the host by a connection to its port that it need not wait any longer, if the way itself does not. Nobody may be listening.
	Hint(ctx context.Context, port uint32)
	// Serve moves bytes until ctx ends; listen before, so that the host's first connection finds its listener.
	Serve(ctx context.Context) error
}

// Find returns the machine's transport. The vsock device is there before the first process if at all, and then it is taken.
func Find() Transport {
	if cid, err := vsock.ContextID(); err == nil && cid != noCID {
		return vsockTransport{}
	}
	return serialTransport{serialmux.NewGuest(serialmux.OpenPort(serialmux.PortName))}
}

// noCID is what the kernel answers without a vsock device.
const noCID = 1<<32 - 1

type serialTransport struct{ guest *serialmux.Guest }

func (t serialTransport) Listen(port uint32) (net.Listener, error) { return t.guest.Listen(port) }
func (t serialTransport) Serve(ctx context.Context) error          { return t.guest.Serve(ctx) }
func (t serialTransport) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	return t.guest.Dial(ctx, port)
}

// Hint does nothing: a session begins when the guest is there, and the host waits for that.
func (serialTransport) Hint(context.Context, uint32) {}

type vsockTransport struct{}

func (t vsockTransport) Hint(ctx context.Context, port uint32) {
	conn, err := t.Dial(ctx, port)
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte{1})
	_ = conn.Close()
}

func (vsockTransport) Serve(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (vsockTransport) Dial(_ context.Context, port uint32) (net.Conn, error) {
	return vsock.Dial(vsock.Host, port, nil)
}

func (vsockTransport) Listen(port uint32) (net.Listener, error) {
	l, err := vsock.Listen(port, nil)
	if err != nil {
		return nil, fmt.Errorf("listen on vsock port %d: %w", port, err)
	}
	return hostOnly{l}, nil
}

// hostOnly drops connections that are not the host's: guests of some hypervisors, and local processes, can reach the port too.
type hostOnly struct{ net.Listener }

func (l hostOnly) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if addr, ok := conn.RemoteAddr().(*vsock.Addr); ok && addr.ContextID == vsock.Host {
			return conn, nil
		}
		_ = conn.Close()
	}
}
