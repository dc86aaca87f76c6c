package netd

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	netdv1 "github.com/vzctl/vzctl/core/proto/vzctl/netd/v1"
)

// leases counts who holds the network. A holder is a stream, so the kernel tells when it dies.
type leases struct {
	netdv1.UnimplementedLeasesServer
	network string
	keeper  *keeper
	log     hclog.Logger

	mu    sync.Mutex
	held  int
	by    map[string]int // how many hold an endpoint
	idle  time.Time      // since when nobody holds; zero while somebody does
	moved chan struct{}  // receives, without blocking, when held changes
}

func newLeases(name string, k *keeper, log hclog.Logger) *leases {
	return &leases{network: name, keeper: k, log: log, idle: time.Now(), by: map[string]int{}, moved: make(chan struct{}, 1)}
}

// Hold keeps the caller's endpoint attached until the stream ends.
func (l *leases) Hold(request *netdv1.HoldRequest, stream grpc.ServerStreamingServer[netdv1.HoldResponse]) error {
	l.change(+1)
	defer l.change(-1)
	l.holders(request.EndpointId, +1)
	if err := stream.Send(&netdv1.HoldResponse{}); err != nil {
		l.holders(request.EndpointId, -1)
		return err
	}
	<-stream.Context().Done()
	if l.holders(request.EndpointId, -1) > 0 {
		return nil // it has been started again already, and holds it anew
	}
	// Its holder may be dead; nobody but this daemon frees the endpoint.
	ctx, cancel := context.WithTimeout(context.Background(), replayTimeout)
	defer cancel()
	if err := l.keeper.Detach(ctx, "release "+request.EndpointId, l.network, request.EndpointId); err != nil {
		l.log.Error("cannot detach an endpoint", "endpoint", request.EndpointId, "error", err)
	}
	return nil
}

// holders changes the number of an endpoint's holders, and returns it.
func (l *leases) holders(endpoint string, by int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.by[endpoint] += by
	n := l.by[endpoint]
	if n == 0 {
		delete(l.by, endpoint)
	}
	return n
}

func (l *leases) change(by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held += by
	l.idle = time.Time{}
	if l.held == 0 {
		l.idle = time.Now()
	}
	select {
	case l.moved <- struct{}{}:
	default: // a change not yet seen is enough
	}
}

// idleSince returns since when nobody holds the network; ok is false while somebody does.
func (l *leases) idleSince() (since time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.idle, l.held == 0
}

// awaitIdle returns when nobody has held the network for grace, or ctx ends.
func (l *leases) awaitIdle(ctx context.Context, grace time.Duration) error {
	for {
		var expired <-chan time.Time
		if since, idle := l.idleSince(); idle {
			left := grace - time.Since(since)
			if left <= 0 {
				return nil
			}
			expired = time.After(left)
		}
		select {
		case <-expired:
		case <-l.moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
