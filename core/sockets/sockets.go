// Package sockets joins unix sockets of the host to those of a container, for as long as its sandbox runs (docs/sockets.md). Published sockets are made here, and each connection to
// one becomes a stream to the guest, where a process of the container listens. At offered ones the guest listens, and it says by an id which of them a connection of
// the container is for: which path of the host that is, only the host knows.
//
// listen_linux.go makes sockets at paths of any length, and never in place of anything but a socket that nobody listens at.
package sockets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/agent"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/relay"
	"github.com/vzctl/vzctl/sdk/fault"
)

const (
	// guestPort is the port of the host at which the guest asks for offered sockets.
	guestPort = 1026
	// maxConnections bounds connections at a time, in each direction; further ones wait in the kernel. A guest takes 256 streams for all there is.
	maxConnections = 64
	// patience is how long a guest may take to say what it wants, or to answer, and a socket of the host to take a connection.
	patience = 10 * time.Second
)

// Socket is a pair of sockets that are joined.
type Socket struct {
	ID   string // what the guest knows it by
	Host string // absolute path
	// Publish says that the socket of the host is made, with this mode and owner (nil: as files that this process makes are); otherwise somebody listens there.
	Publish  bool
	Mode     fs.FileMode
	UID, GID *int
}

// Guest opens streams.
type Guest interface {
	OpenStream(ctx context.Context, request *guestv1.StreamRequest) (net.Conn, error)
}

// Relay has the sockets of one container.
type Relay struct {
	container string
	log       hclog.Logger
	published map[string]*listener // by id
	offered   map[string]*offer
	asked     *listener // where the guest asks for offered sockets; nil if there are none

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	complain bool // about a guest that asks for what there is not; once
}

// offer is a socket of the host that the container may connect to.
type offer struct {
	path string
	mu   sync.Mutex
	last string // why the last connection failed; a failure is told when it changes, or a guest could fill the log
}

// Open makes the published sockets, and the one at which the guest of the VM whose hybrid vsock socket is at vsockPath asks for offered ones, which it may do
// from now on. Connections to published sockets wait for Serve. After an error nothing is left.
func Open(container string, all []Socket, vsockPath string, log hclog.Logger) (*Relay, error) {
	r := &Relay{container: container, log: log, published: map[string]*listener{}, offered: map[string]*offer{}, complain: true}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if err := r.open(all, vsockPath); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Relay) open(all []Socket, vsockPath string) error {
	for _, s := range all {
		if !s.Publish {
			r.offered[s.ID] = &offer{path: s.Host}
			if err := isSocket(s.Host); err != nil {
				return &fault.Error{Reason: fault.ReasonOf(err), Op: "offer socket", Subject: s.Host, Cause: err}
			}
			continue
		}
		l, err := listen(s)
		if err != nil {
			return &fault.Error{Reason: fault.ReasonOf(err), Op: "publish socket", Subject: s.Host, Cause: err}
		}
		r.published[s.ID] = l
	}
	if len(r.offered) == 0 {
		return nil
	}
	var err error
	r.asked, err = listen(Socket{Host: fmt.Sprintf("%s_%d", vsockPath, guestPort), Mode: 0o600})
	if err != nil {
		return fmt.Errorf("listen for the guest: %w", err)
	}
	r.accept(r.asked, make(chan struct{}, maxConnections), r.offer)
	return nil
}

// isSocket says what is wrong with a path at which somebody should listen.
func isSocket(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &fault.Error{Reason: fault.NotFound, Cause: errors.New("there is no such socket"), Hint: "start what listens at it first"}
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return &fault.Error{Reason: fault.Invalid, Cause: errors.New("it is not a socket")}
	}
	return nil
}

// Serve passes connections to published sockets on to the guest, until Close.
func (r *Relay) Serve(guest Guest) {
	slots := make(chan struct{}, maxConnections)
	for id, l := range r.published {
		r.accept(l, slots, func(conn *net.UnixConn) { r.publish(guest, id, conn) })
	}
}

// Close takes the published sockets away, ends all connections, and waits for them.
func (r *Relay) Close() error {
	r.cancel()
	var errs []error
	for _, l := range r.published {
		errs = append(errs, l.close())
	}
	if r.asked != nil {
		errs = append(errs, r.asked.close())
	}
	r.work.Wait()
	return errors.Join(errs...)
}

// accept hands each connection to a goroutine of its own, as soon as there is a slot.
func (r *Relay) accept(l *listener, slots chan struct{}, handle func(*net.UnixConn)) {
	r.work.Go(func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				select { // nothing tells when descriptors are free again
				case <-time.After(100 * time.Millisecond):
				case <-r.ctx.Done():
					return
				}
				continue
			}
			select {
			case slots <- struct{}{}:
			case <-r.ctx.Done():
				_ = conn.Close()
				return
			}
			r.work.Go(func() {
				defer func() { <-slots }()
				handle(conn)
			})
		}
	})
}

// publish joins a connection to a process of the container.
func (r *Relay) publish(guest Guest, id string, conn *net.UnixConn) {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	stream, err := guest.OpenStream(ctx, &guestv1.StreamRequest{ContainerId: r.container, SocketId: id, Kind: guestv1.StreamKind_STREAM_KIND_SOCKET})
	cancel()
	if err == nil {
		if far, ok := stream.(relay.Conn); ok {
			relay.Join(r.ctx, conn, far)
			return
		}
		err = errors.Join(errors.New("a stream of the guest cannot be half-closed"), stream.Close())
	}
	_ = conn.Close()
	r.log.Debug("a connection to a published socket ends", "socket", id, "error", err)
}

// offer joins a connection of the guest to the socket that it names.
func (r *Relay) offer(guest *net.UnixConn) {
	_ = guest.SetDeadline(time.Now().Add(patience))
	stop := context.AfterFunc(r.ctx, func() { _ = guest.Close() })
	defer stop()
	var request guestv1.SocketRequest
	if err := agent.ReadHeader(guest, &request); err != nil {
		_ = guest.Close()
		return
	}
	host, err := r.connect(&request)
	response := &guestv1.StreamResponse{}
	if err != nil {
		response.Error = "connection refused" // more is not the guest's to know
	}
	if err := agent.WriteHeader(guest, response); err != nil || host == nil {
		_ = guest.Close()
		if host != nil {
			_ = host.Close()
		}
		return
	}
	_ = guest.SetDeadline(time.Time{})
	relay.Join(r.ctx, guest, host)
}

func (r *Relay) connect(request *guestv1.SocketRequest) (*net.UnixConn, error) {
	o := r.offered[request.SocketId]
	if o == nil || request.ContainerId != r.container {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.complain {
			r.log.Warn("the guest asks for a socket that the container does not have", "id", fmt.Sprintf("%.80q", request.SocketId))
			r.complain = false
		}
		return nil, errors.New("there is no such socket")
	}
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	conn, err := dial(ctx, o.path)
	o.mu.Lock()
	defer o.mu.Unlock()
	why := ""
	if err != nil {
		if why = err.Error(); why != o.last && r.ctx.Err() == nil {
			r.log.Warn("the container gets no connection to a socket of the host", "socket", o.path, "error", err)
		}
	}
	if why != "" || o.last == "" { // once told, it is not told again when the socket comes and goes
		o.last = why
	}
	return conn, err
}
