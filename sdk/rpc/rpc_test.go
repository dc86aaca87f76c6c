package rpc_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/rpc"
)

// conn answers every call with a function.
type conn struct {
	answer func(ctx context.Context) error
}

func (c conn) Invoke(ctx context.Context, _ string, _, _ any, _ ...grpc.CallOption) error {
	return c.answer(ctx)
}

func (c conn) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	return stream{ctx: ctx, answer: c.answer}, nil
}

type stream struct {
	grpc.ClientStream
	ctx    context.Context
	answer func(ctx context.Context) error
}

func (s stream) RecvMsg(any) error { return s.answer(s.ctx) }

// blocked is a peer that answers only when the call's context ends, as gRPC does.
func blocked(ctx context.Context) error {
	<-ctx.Done()
	return status.FromContextError(ctx.Err()).Err()
}

const method = "/vzctl.hypervisor.v1.Hypervisor/AttachDevice"

// both makes the call as unary and as stream.
func both(t *testing.T, c grpc.ClientConnInterface, ctx context.Context, check func(t *testing.T, err error)) {
	t.Helper()
	t.Run("unary", func(t *testing.T) { check(t, c.Invoke(ctx, method, nil, nil)) })
	t.Run("stream", func(t *testing.T) {
		s, err := c.NewStream(ctx, &grpc.StreamDesc{}, method)
		if err != nil {
			t.Fatal(err)
		}
		check(t, s.RecvMsg(nil))
	})
}

func TestTheEndOfThePeerEndsItsCalls(t *testing.T) {
	gone, end := context.WithCancel(t.Context())
	c := rpc.Wrap(conn{blocked}, rpc.Peer{Name: `plugin "p"`, Gone: gone, LastWords: func() string { return "exit status 1: ouch" }})
	time.AfterFunc(20*time.Millisecond, end)
	both(t, c, t.Context(), func(t *testing.T, err error) {
		if !errors.Is(err, rpc.ErrGone) || !errors.Is(err, fault.Unavailable) || err.Error() != `attach device: plugin "p" ended before it answered: exit status 1: ouch` {
			t.Errorf("error is %v", err)
		}
	})
}

func TestABrokenConnectionIsExplainedByTheEndThatFollows(t *testing.T) {
	gone, end := context.WithCancel(t.Context())
	c := rpc.Wrap(conn{func(context.Context) error { return status.Error(codes.Unavailable, "EOF") }}, rpc.Peer{Name: "p", Gone: gone})
	time.AfterFunc(20*time.Millisecond, end)
	both(t, c, t.Context(), func(t *testing.T, err error) {
		if !errors.Is(err, rpc.ErrGone) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestABrokenConnectionToALivingPeerIsUnavailable(t *testing.T) {
	c := rpc.Wrap(conn{func(context.Context) error { return status.Error(codes.Unavailable, "reset") }}, rpc.Peer{Name: "p"})
	err := c.Invoke(t.Context(), method, nil, nil)
	if errors.Is(err, rpc.ErrGone) || !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "reset") {
		t.Errorf("error is %v", err)
	}
}

func TestACallerThatLeavesIsToldSo(t *testing.T) {
	c := rpc.Wrap(conn{blocked}, rpc.Peer{Name: "p"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	both(t, c, ctx, func(t *testing.T, err error) {
		if !errors.Is(err, context.Canceled) || errors.Is(err, fault.Unavailable) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestUnaryCallsHaveADeadline(t *testing.T) {
	c := rpc.Wrap(conn{blocked}, rpc.Peer{Name: "p", Timeout: 20 * time.Millisecond})
	err := c.Invoke(t.Context(), method, nil, nil)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fault.Unavailable) {
		t.Errorf("error is %v", err)
	}
}

func TestAnAnswerIsNotMistakenForTheTransport(t *testing.T) {
	answer := fault.ToGRPC(&fault.Error{Reason: fault.Unavailable, Cause: errors.New("registry is down")})
	c := rpc.Wrap(conn{func(context.Context) error { return answer }}, rpc.Peer{Name: "p"})
	both(t, c, t.Context(), func(t *testing.T, err error) {
		if !errors.Is(err, fault.Unavailable) || err.Error() != "attach device: registry is down" {
			t.Errorf("error is %v", err)
		}
	})
}

func TestAContextOfThePeersOwnIsNotTheCallers(t *testing.T) {
	for _, code := range []codes.Code{codes.Canceled, codes.DeadlineExceeded} {
		c := rpc.Wrap(conn{func(context.Context) error { return status.Error(code, "dial registry") }}, rpc.Peer{Name: "p", Timeout: time.Hour})
		err := c.Invoke(t.Context(), method, nil, nil)
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "p: dial registry") {
			t.Errorf("%s: error is %v", code, err)
		}
	}
}

func TestTheEndOfAStreamStaysTheEnd(t *testing.T) {
	c := rpc.Wrap(conn{func(context.Context) error { return io.EOF }}, rpc.Peer{Name: "p"})
	s, err := c.NewStream(t.Context(), &grpc.StreamDesc{}, method)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(nil); err != io.EOF {
		t.Errorf("error is %v", err)
	}
}

func TestServerOptionsAreAccepted(t *testing.T) {
	grpc.NewServer(rpc.ServerOptions(hclog.NewNullLogger())...).Stop()
}
