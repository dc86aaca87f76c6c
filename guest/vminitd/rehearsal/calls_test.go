package rehearsal

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// fake answers Hello, and Watch twice, waits in WaitProcess for ever, and knows nothing else.
type fake struct {
	guestv1.UnimplementedAgentServer
}

func (fake) Hello(_ context.Context, r *guestv1.HelloRequest) (*guestv1.HelloResponse, error) {
	if r.Version == "bad" {
		return nil, status.Error(codes.InvalidArgument, "100% bad\nreally")
	}
	return &guestv1.HelloResponse{Version: strings.Repeat(r.Version, 2)}, nil
}

func (fake) WaitProcess(ctx context.Context, _ *guestv1.WaitProcessRequest) (*guestv1.WaitProcessResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (fake) Watch(_ *guestv1.WatchRequest, stream grpc.ServerStreamingServer[guestv1.WatchResponse]) error {
	for _, id := range []string{"one", "two"} {
		if err := stream.Send(&guestv1.WatchResponse{ContainerId: id}); err != nil {
			return err
		}
	}
	return nil
}

func serve(t *testing.T) *client {
	t.Helper()
	listener, err := net.Listen("unix", t.TempDir()+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	guestv1.RegisterAgentServer(server, fake{})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	conn, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func TestCallsAreAnsweredByAServerOfGRPC(t *testing.T) {
	c := serve(t)
	var calling sync.WaitGroup
	for range 20 {
		calling.Go(func() {
			long := strings.Repeat("x", 1000)
			var response guestv1.HelloResponse
			err := c.call(t.Context(), guestv1.Agent_Hello_FullMethodName, &guestv1.HelloRequest{Version: long}, &response)
			if err != nil || response.Version != long+long {
				t.Errorf("%d bytes, %v", len(response.Version), err)
			}
		})
	}
	calling.Wait()
}

func TestACallCanHaveSeveralAnswers(t *testing.T) {
	c := serve(t)
	a, err := c.ask(guestv1.Agent_Watch_FullMethodName, &guestv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "two"} {
		var response guestv1.WatchResponse
		if err := c.part(t.Context(), a, &response); err != nil || response.ContainerId != want {
			t.Errorf("%q, %v; want %q", response.ContainerId, err, want)
		}
	}
	if err := c.part(t.Context(), a, &guestv1.WatchResponse{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after the last: %v", err)
	}
	if err := c.end(t.Context(), a); err != nil {
		t.Error(err)
	}
}

func TestCallsThatFailSayWhy(t *testing.T) {
	c := serve(t)
	for name, test := range map[string]struct {
		call func(ctx context.Context) error
		says string
	}{
		"an error of the server": {func(ctx context.Context) error {
			return c.call(ctx, guestv1.Agent_Hello_FullMethodName, &guestv1.HelloRequest{Version: "bad"}, &guestv1.HelloResponse{})
		}, "status 3: 100% bad\nreally"},
		"a call that the server does not know": {func(ctx context.Context) error {
			return c.call(ctx, guestv1.Agent_Adopt_FullMethodName, &guestv1.AdoptRequest{}, &guestv1.AdoptResponse{})
		}, "status 12"},
		"a request that needs several frames": {func(ctx context.Context) error {
			return c.call(ctx, guestv1.Agent_Hello_FullMethodName, &guestv1.HelloRequest{Version: strings.Repeat("x", maxFrame)}, &guestv1.HelloResponse{})
		}, "bytes"},
		"a call whose time is over": {func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			return c.call(ctx, guestv1.Agent_WaitProcess_FullMethodName, &guestv1.WaitProcessRequest{}, &guestv1.WaitProcessResponse{})
		}, "deadline"},
	} {
		if err := test.call(t.Context()); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALostConnectionEndsTheCalls(t *testing.T) {
	c := serve(t)
	ended := make(chan error)
	go func() {
		ended <- c.call(t.Context(), guestv1.Agent_WaitProcess_FullMethodName, &guestv1.WaitProcessRequest{}, &guestv1.WaitProcessResponse{})
	}()
	c.close()
	if err := <-ended; err == nil {
		t.Error("a call without connection is answered")
	}
	if err := c.call(t.Context(), guestv1.Agent_Hello_FullMethodName, &guestv1.HelloRequest{}, &guestv1.HelloResponse{}); err == nil {
		t.Error("a later one, too")
	}
}
