package netd

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	netdv1 "github.com/vzctl/vzctl/core/proto/vzctl/netd/v1"
)

// holder is the server's end of a Hold stream.
type holder struct {
	grpc.ServerStream
	ctx  context.Context
	sent chan struct{}
}

func (h holder) Context() context.Context        { return h.ctx }
func (h holder) Send(*netdv1.HoldResponse) error { close(h.sent); return nil }

func TestTheEndOfAHoldDetachesItsEndpoint(t *testing.T) {
	var ps plugins
	k := newTestKeeper(t, &ps)
	l := newLeases("net", k, hclog.NewNullLogger())
	ctx, cancel := context.WithCancel(t.Context())
	h := holder{ctx: ctx, sent: make(chan struct{})}
	done := make(chan error)
	go func() { done <- l.Hold(&netdv1.HoldRequest{EndpointId: "web"}, h) }()
	<-h.sent
	attachTo(t, k, "web")
	if _, idle := l.idleSince(); idle {
		t.Error("idle while somebody holds")
	}
	cancel() // as the kernel does when the holder dies
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, ok := ps.last().has("web"); ok {
		t.Error("the endpoint is still attached")
	}
	if _, idle := l.idleSince(); !idle {
		t.Error("not idle when nobody holds")
	}
}

func TestIdleBeginsAgainWithEachHolder(t *testing.T) {
	l := newLeases("net", newTestKeeper(t, &plugins{}), hclog.NewNullLogger())
	l.change(+1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := l.awaitIdle(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("idle although held: %v", err)
	}
	l.change(-1)
	if err := l.awaitIdle(t.Context(), time.Millisecond); err != nil {
		t.Error(err)
	}
}

func TestTheEndOfAnOldHoldLeavesAnEndpointThatIsHeldAnew(t *testing.T) {
	var ps plugins
	k := newTestKeeper(t, &ps)
	l := newLeases("net", k, hclog.NewNullLogger())
	hold := func() (end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		h := holder{ctx: ctx, sent: make(chan struct{})}
		done := make(chan error)
		go func() { done <- l.Hold(&netdv1.HoldRequest{EndpointId: "web"}, h) }()
		<-h.sent
		attachTo(t, k, "web")
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	endOld := hold()
	endNew := hold() // the container was started again before the daemon saw its supervisor's death
	endOld()
	if _, ok := ps.last().has("web"); !ok {
		t.Error("the new container has lost its network")
	}
	endNew()
	if _, ok := ps.last().has("web"); ok {
		t.Error("the endpoint is still attached")
	}
}
