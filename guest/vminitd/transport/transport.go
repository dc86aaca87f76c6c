// Package transport is the way between guest and host: real vsock, or connections over a virtio-serial port. vminitd takes the one it finds and
// does not know which.
package transport

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/mdlayher/vsock"

	"github.com/vzctl/vzctl/guest/serialmux"
)

// Transport carries connections by port. Listeners outlive the loss of the host's end; connections do not.
type Transport interface {
	Listen(port uint32) (net.Listener, error)
	// Dial connects to a port of the host.
	Dial(ctx context.Context, port uint32) (net.Conn, error)
	// Hint has the host told, by a connection to its port with one byte, that it need not wait any longer. Nobody may be listening. It returns at once; to be called before Serve.
	Hint(ctx context.Context, port uint32)
	// Serve moves bytes until ctx ends; listen before, so that the host's first connection finds its listener.
	Serve(ctx context.Context) error
}

// Find returns the machine's transport. The vsock device is there before the first process if at all, and then it is taken.
func Find() Transport {
	if cid, err := vsock.ContextID(); err == nil && cid != noCID {
		return vsockTransport{}
	}
	return &serialTransport{guest: serialmux.NewGuest(serialmux.OpenPort(serialmux.PortName))}
}

// noCID is what the kernel answers without a vsock device.
const noCID = 1<<32 - 1

type serialTransport struct {
	guest *serialmux.Guest
	hint  *time.Timer
}

// quiet is how long a host may say nothing before it is given a hint over the serial port. One that has connections waiting, as ours has, is told by the beginning of the session
// that the guest is there; and to a clone every connection is code to be translated anew.
const quiet = time.Second

func (t *serialTransport) Hint(ctx context.Context, port uint32) {
	t.hint = time.AfterFunc(quiet, func() { hint(ctx, t, port) })
}

func (t *serialTransport) Listen(port uint32) (net.Listener, error) {
	l, err := t.guest.Listen(port)
	if err != nil {
		return nil, err
	}
	return heard{l, t}, nil
}

func (t *serialTransport) Serve(ctx context.Context) error { return t.guest.Serve(ctx) }
func (t *serialTransport) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	return t.guest.Dial(ctx, port)
}

// heard takes a connection of the host for the end of its waiting.
type heard struct {
	net.Listener
	transport *serialTransport
}

func (l heard) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if hint := l.transport.hint; err == nil && hint != nil {
		hint.Stop()
	}
	return conn, err
}

func hint(ctx context.Context, way Transport, port uint32) {
	conn, err := way.Dial(ctx, port)
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte{1})
	_ = conn.Close()
}

type vsockTransport struct{}

func (t vsockTransport) Hint(ctx context.Context, port uint32) { go hint(ctx, t, port) }

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
