package supervisor

import (
	"context"
	"os"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/netd"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/network"
)

// reaching reaches the daemon of the sandbox's network, if it runs, while this process waits for its starter. It is taken once, or closed; a nil one reaches none.
type reaching struct {
	cancel  context.CancelFunc
	done    chan struct{} // closed when it is reached, or is not
	reached *netd.Reached
	once    sync.Once
}

func reachNetwork(st *store.Store, sandboxID string, log hclog.Logger) *reaching {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reaching{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		b, err := st.GetSandbox(sandboxID)
		if err != nil || b.Network == "" {
			return // what is wrong is told by who needs it
		}
		client := &netd.Client{Store: st, Log: log.Named("network")}
		if r.reached, err = client.Reach(ctx, b.Network, sandboxID); err != nil {
			log.Debug("cannot reach the network yet", "network", b.Network, "error", err)
		}
	}()
	return r
}

// take returns what was reached; nil: nothing.
func (r *reaching) take(ctx context.Context) (reached *netd.Reached) {
	if r == nil {
		return nil
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		return nil // which is closed later
	}
	r.once.Do(func() { reached = r.reached })
	return reached
}

func (r *reaching) close() {
	r.cancel()
	<-r.done
	r.once.Do(func() {
		if r.reached != nil {
			_ = r.reached.Close() // nothing was done with it
		}
	})
}

// attach gets the sandbox its place on its network.
func (s *supervision) attach(ctx context.Context, request network.AttachRequest) (sandbox.Lease, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	client := &netd.Client{Store: s.store, Program: []string{program}, Log: s.log.Named("network")}
	return Attach(ctx, client, request, s.reaching.take(ctx))
}

// Attach gives a sandbox its place on a network, at the daemon that was reached before if that is not nil.
func Attach(ctx context.Context, client *netd.Client, request network.AttachRequest, before *netd.Reached) (sandbox.Lease, error) {
	lease, err := client.Attach(ctx, request, before)
	if err != nil {
		return nil, err // and no lease that is not nil
	}
	return lease, nil
}
