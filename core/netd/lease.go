package netd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/vzctl/vzctl/core/daemon"
	"github.com/vzctl/vzctl/core/lock"
	netdv1 "github.com/vzctl/vzctl/core/proto/vzctl/netd/v1"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/network"
	"github.com/vzctl/vzctl/sdk/rpc"
)

// Client takes leases of networks, starting their daemons where none runs.
type Client struct {
	Store *store.Store
	// Program is the vzctl that daemons are started from.
	Program []string
	Log     hclog.Logger
}

// Lease is one endpoint on a network. While it is held it follows its network through the death of daemon and plugin, with the same address.
type Lease struct {
	client  *Client
	request network.AttachRequest
	cancel  context.CancelFunc
	done    chan struct{}

	mu       sync.Mutex
	endpoint network.Endpoint
	held     *held
}

// held is a lease at one daemon's life.
type held struct {
	conn    *grpc.ClientConn
	wrapped grpc.ClientConnInterface
	stream  grpc.ServerStreamingClient[netdv1.HoldResponse]
}

// takeAgainTimeout bounds one attempt to get a lost lease back, retryDelay spaces them.
const (
	callTimeout      = time.Minute
	takeAgainTimeout = 30 * time.Second
	retryDelay       = time.Second
)

// Reached is the daemon of a network that was reached ahead of Attach, for one endpoint. It is given to Attach, or closed.
type Reached struct {
	network, endpoint string
	held              *held
}

// Reach reaches the daemon of a network for an endpoint, if it runs; nil otherwise. The daemon stays for as long as that.
func (c *Client) Reach(ctx context.Context, name, endpoint string) (*Reached, error) {
	alive, err := lock.Held(c.Store.Paths().NetworkLife(name))
	if err != nil || !alive {
		return nil, err
	}
	conn, err := c.dial(name)
	if err != nil {
		return nil, err
	}
	h, err := c.hold(ctx, conn, name, endpoint)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Reached{name, endpoint, h}, nil
}

// Close gives it up.
func (r *Reached) Close() error { return r.held.conn.Close() }

// Attach takes a lease of request.Network, from the daemon that was reached before if that is not nil.
func (c *Client) Attach(ctx context.Context, request network.AttachRequest, before *Reached) (*Lease, error) {
	h, endpoint, err := before.take(ctx, request)
	if h == nil && err == nil {
		h, endpoint, err = c.take(ctx, request)
	}
	if err != nil {
		return nil, err
	}
	keeping, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &Lease{client: c, request: settled(request, endpoint), endpoint: endpoint, held: h, cancel: cancel, done: make(chan struct{})}
	go l.keep(keeping)
	return l, nil
}

// take returns nothing if the daemon was not reached, or is gone.
func (r *Reached) take(ctx context.Context, request network.AttachRequest) (*held, network.Endpoint, error) {
	if r == nil {
		return nil, network.Endpoint{}, nil
	}
	err := error(&fault.Error{Reason: fault.Unavailable, Op: "attach to network", Subject: request.Network, Cause: errors.New("another was reached")})
	if r.network == request.Network && r.endpoint == request.EndpointID {
		var endpoint network.Endpoint
		if endpoint, err = r.held.attach(ctx, request); err == nil {
			return r.held, endpoint, nil
		}
	}
	_ = r.Close() // another is taken, or none
	if ctx.Err() == nil && errors.Is(err, fault.Unavailable) {
		err = nil
	}
	return nil, network.Endpoint{}, err
}

// Endpoint returns the place on the network.
func (l *Lease) Endpoint() network.Endpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.endpoint
}

// Close gives the lease back.
func (l *Lease) Close(ctx context.Context) error {
	l.cancel()
	l.mu.Lock()
	h := l.held
	l.mu.Unlock()
	var err error
	if h != nil {
		// Detached by name, so that the address is free when this returns; the end of the stream would do it a little later.
		client := network.NewClient(h.wrapped, sdk.Info{})
		err = client.Detach(ctx, "detach "+l.request.EndpointID, l.request.Network, l.request.EndpointID)
		err = errors.Join(err, h.conn.Close())
	}
	<-l.done
	return err
}

// keep takes the lease again whenever the daemon is gone.
func (l *Lease) keep(ctx context.Context) {
	defer close(l.done)
	for {
		l.mu.Lock()
		h := l.held
		l.mu.Unlock()
		_, err := h.stream.Recv() // nothing more is sent: this is the end
		if ctx.Err() != nil {
			return
		}
		l.client.Log.Warn("the network's daemon is gone; taking the lease again", "network", l.request.Network, "error", err)
		_ = h.conn.Close() // it is broken already
		for {
			attempt, cancel := context.WithTimeout(ctx, takeAgainTimeout)
			again, endpoint, err := l.client.take(attempt, l.request)
			cancel()
			if err == nil {
				l.mu.Lock()
				l.held, l.endpoint = again, endpoint
				l.mu.Unlock()
				break
			}
			l.client.Log.Error("the container has no network", "network", l.request.Network, "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryDelay):
			}
		}
		if ctx.Err() != nil {
			l.mu.Lock()
			_ = l.held.conn.Close()
			l.mu.Unlock()
			return
		}
	}
}

// take gets a lease from the running daemon, or from a new one. A daemon may be leaving at that very moment: then it is asked for anew.
func (c *Client) take(ctx context.Context, request network.AttachRequest) (*held, network.Endpoint, error) {
	const attempts = 3
	var errs error
	for range attempts {
		conn, d, err := c.connect(ctx, request.Network)
		if err != nil {
			return nil, network.Endpoint{}, err
		}
		h, err := c.hold(ctx, conn, request.Network, request.EndpointID)
		if err == nil {
			endpoint, attachErr := h.attach(ctx, request)
			if attachErr == nil {
				return h, endpoint, nil
			}
			err = attachErr
		}
		errs = errors.Join(err, conn.Close())
		if !errors.Is(err, fault.Unavailable) || ctx.Err() != nil {
			return nil, network.Endpoint{}, errs
		}
		if d != nil {
			// This very daemon was started for us: if it ends, what it said last is the reason.
			if cause := lastWords(ctx, d); cause != "" {
				return nil, network.Endpoint{}, &fault.Error{Reason: fault.Unavailable, Op: "start network", Subject: request.Network,
					Cause: errors.New(cause)}
			}
		}
	}
	return nil, network.Endpoint{}, errs
}

// endingTimeout is how long a daemon that does not answer may take to end. Its socket is closed a moment before it has.
const endingTimeout = 2 * time.Second

// lastWords is what a daemon ended with, empty if it goes on.
func lastWords(ctx context.Context, d *daemon.Process) string {
	ctx, cancel := context.WithTimeout(ctx, endingTimeout)
	defer cancel()
	err := d.Wait(ctx)
	if ctx.Err() != nil {
		return ""
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == failed {
		return d.LastLine()
	}
	return d.LastWords()
}

// hold has a daemon stay, and the endpoint be freed when the connection ends.
func (c *Client) hold(ctx context.Context, conn *grpc.ClientConn, name, endpoint string) (*held, error) {
	wrapped := rpc.Wrap(conn, rpc.Peer{Name: "the daemon of network " + strconv.Quote(name), Timeout: callTimeout})
	// The stream lives as long as the lease, not as this call; but a caller who leaves before there is a lease ends it. The end of the connection ends it later.
	lasting, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	stream, err := netdv1.NewLeasesClient(wrapped).Hold(lasting, &netdv1.HoldRequest{EndpointId: endpoint})
	if err == nil {
		_, err = stream.Recv()
	}
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		cancel(err)
		return nil, err
	}
	return &held{conn, wrapped, stream}, nil
}

func (h *held) attach(ctx context.Context, request network.AttachRequest) (network.Endpoint, error) {
	return network.NewClient(h.wrapped, sdk.Info{}).Attach(ctx, request)
}

// connect reaches the daemon of a network, starting it if need be; it is returned then.
func (c *Client) connect(ctx context.Context, name string) (*grpc.ClientConn, *daemon.Process, error) {
	paths := c.Store.Paths()
	starting, err := lock.Acquire(ctx, paths.NetworkLock(name))
	if err != nil {
		return nil, nil, err
	}
	defer starting.Close()
	alive, err := lock.Held(paths.NetworkLife(name))
	if err != nil {
		return nil, nil, err
	}
	var d *daemon.Process
	if !alive {
		if d, err = c.start(name); err != nil {
			return nil, nil, err
		}
	}
	conn, err := c.dial(name)
	return conn, d, err
}

// dial reaches a daemon that runs.
func (c *Client) dial(name string) (*grpc.ClientConn, error) {
	var at whereabouts
	if err := store.ReadJSON(c.Store.Paths().NetworkWhereabouts(name), &at); err != nil {
		return nil, err
	}
	socket := at.socket()
	conn, err := grpc.NewClient("passthrough:///netd", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", socket)
		}))
	if err != nil {
		return nil, fmt.Errorf("reach network %q: %w", name, err)
	}
	return conn, nil
}

// whereabouts of a running daemon. They are written down because a later session of the user may have another runtime directory.
type whereabouts struct {
	RuntimeDir string `json:"runtimeDir"`
}

func (w whereabouts) socket() string { return filepath.Join(w.RuntimeDir, "netd") }

func (c *Client) start(name string) (*daemon.Process, error) {
	paths := c.Store.Paths()
	run, err := c.Store.MakeNetworkRun(name)
	if err != nil {
		return nil, err
	}
	at := whereabouts{run}
	if err := store.WriteJSON(paths.NetworkWhereabouts(name), at, false); err != nil {
		return nil, err
	}
	life, err := lock.Try(paths.NetworkLife(name))
	if err != nil {
		return nil, err
	}
	args := []string{"netd", "--root", paths.Root, "--run", run}
	if c.Log.IsDebug() {
		args = append(args, "--debug")
	}
	return daemon.Start(daemon.Spec{Program: c.Program, Args: append(args, name), Sockets: []string{at.socket()}, Life: life,
		LogPath: paths.NetworkLog(name)})
}
