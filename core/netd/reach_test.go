package netd

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/core/lock"
	netdv1 "github.com/vzctl/vzctl/core/proto/vzctl/netd/v1"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/network"
	"github.com/vzctl/vzctl/sdk/rpc"
)

// daemonHere is a daemon of the network "net" in this process.
type daemonHere struct {
	leases  *leases
	plugins *plugins
	server  *grpc.Server
	life    *lock.Lock
}

// end is its end, whatever it has promised.
func (d daemonHere) end(t *testing.T) {
	d.server.Stop()
	if err := d.life.Close(); err != nil {
		t.Error(err)
	}
}

func (d daemonHere) holders() int {
	d.leases.mu.Lock()
	defer d.leases.mu.Unlock()
	return d.leases.held
}

func serveHere(t *testing.T, st *store.Store) daemonHere {
	t.Helper()
	paths := st.Paths()
	if err := os.MkdirAll(paths.Network("net"), 0o700); err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("", "netd") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	at := whereabouts{run}
	if err := store.WriteJSON(paths.NetworkWhereabouts("net"), at, false); err != nil {
		t.Fatal(err)
	}
	life, err := lock.Try(paths.NetworkLife("net"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", at.socket())
	if err != nil {
		t.Fatal(err)
	}
	var ps plugins
	k := newTestKeeper(t, &ps)
	d := daemonHere{newLeases("net", k, hclog.NewNullLogger()), &ps, grpc.NewServer(rpc.ServerOptions(hclog.NewNullLogger())...), life}
	netdv1.RegisterLeasesServer(d.server, d.leases)
	network.Plugin(sdk.Info{Name: "netd"}, k).Register(d.server)
	go func() { _ = d.server.Serve(listener) }()
	return d
}

func TestADaemonThatWasReachedIsAttachedTo(t *testing.T) {
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	client := &Client{Store: st, Program: []string{"/no/such/program"}, Log: hclog.NewNullLogger()}
	if reached, err := client.Reach(t.Context(), "net", "web"); reached != nil || err != nil {
		t.Fatalf("one that does not run was reached: %v, %v", reached, err)
	}
	d := serveHere(t, st)
	reach := func(endpoint string) *Reached {
		t.Helper()
		reached, err := client.Reach(t.Context(), "net", endpoint)
		if err != nil || reached == nil {
			t.Fatalf("reached %v, %v", reached, err)
		}
		return reached
	}
	attach := func(before *Reached) *Lease {
		t.Helper()
		lease, err := client.Attach(t.Context(), network.AttachRequest{Network: "net", EndpointID: "web"}, before)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := d.plugins.last().has("web"); !ok {
			t.Error("the endpoint is not attached")
		}
		return lease
	}
	holds := func(what string, want int) {
		t.Helper()
		if got := d.holders(); got != want {
			t.Errorf("%s: %d hold the network, not %d", what, got, want)
		}
	}
	freed := func(what string) {
		t.Helper()
		within, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := d.leases.awaitIdle(within, 0); err != nil {
			t.Fatalf("%s: %d hold the network: %v", what, d.holders(), err)
		}
	}

	reached := reach("web")
	holds("reached", 1)
	lease := attach(reached)
	holds("attached", 1)
	if err := lease.Close(t.Context()); err != nil {
		t.Error(err)
	}
	freed("given back")

	if err := reach("web").Close(); err != nil {
		t.Error(err)
	}
	freed("given up")

	lease = attach(reach("another")) // which is no use
	if err := lease.Close(t.Context()); err != nil {
		t.Error(err)
	}
	freed("the one that was of no use, and the other")

	reached = reach("web")
	d.end(t)
	d = serveHere(t, st)
	lease = attach(reached) // another daemon serves meanwhile
	holds("attached to the new one", 1)
	if err := lease.Close(t.Context()); err != nil {
		t.Error(err)
	}
	d.end(t)
}
