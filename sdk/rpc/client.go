package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vzctl/vzctl/sdk/fault"
)

// ErrGone is wrapped by errors of calls whose peer's process ended before it answered.
var ErrGone = errors.New("ended before it answered")

// goneGrace is how long a call with a broken connection waits to learn whether the process is dead, which tells more.
const goneGrace = 500 * time.Millisecond

// Peer is who answers the calls of a connection.
type Peer struct {
	// Name as errors shall have it: `plugin "qemu-hypervisor"`.
	Name string
	// Timeout of unary calls whose context has no deadline; 0: none. Streams have none: they last as long as their work, or as the peer.
	Timeout time.Duration
	// Gone ends when the peer's process does; nil: nobody watches it.
	Gone context.Context
	// LastWords says how the process ended and what it said last; called only after Gone has ended. May be nil.
	LastWords func() string
}

// Wrap returns conn with deadlines, with calls that fail as soon as the peer is gone, and with errors of package fault. What callers can tell apart:
//
//	errors.Is(err, context.Canceled)          the caller left
//	errors.Is(err, context.DeadlineExceeded)  no answer in time, the caller's own or Peer.Timeout; fault.Unavailable
//	errors.Is(err, ErrGone)                   the process died; fault.Unavailable, with its last words
//	any other *fault.Error                    what the peer answered
func Wrap(conn grpc.ClientConnInterface, peer Peer) grpc.ClientConnInterface {
	if peer.Gone == nil {
		peer.Gone = context.Background()
	}
	return &client{conn: conn, peer: peer}
}

type client struct {
	conn grpc.ClientConnInterface
	peer Peer
}

// Invoke implements grpc.ClientConnInterface.
func (c *client) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	call := c.begin(ctx, method, c.peer.Timeout)
	defer call.end()
	return call.explain(c.conn.Invoke(call.ctx, method, args, reply, opts...))
}

// NewStream implements grpc.ClientConnInterface.
func (c *client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	call := c.begin(ctx, method, 0)
	s, err := c.conn.NewStream(call.ctx, desc, method, opts...)
	if err != nil {
		err = call.explain(err)
		call.end()
		return nil, err
	}
	context.AfterFunc(call.ctx, func() { call.unwatch() }) // a stream may be left without a last receive
	return &stream{ClientStream: s, call: call, single: !desc.ServerStreams}, nil
}

// call is one call of a caller: its context, and why it ended.
type call struct {
	peer    *Peer
	method  string
	caller  context.Context
	ctx     context.Context
	cancel  context.CancelFunc
	unwatch func() bool
	start   time.Time
}

func (c *client) begin(ctx context.Context, method string, timeout time.Duration) *call {
	k := &call{peer: &c.peer, method: method, caller: ctx, start: time.Now()}
	if _, has := ctx.Deadline(); !has && timeout > 0 {
		k.ctx, k.cancel = context.WithTimeout(ctx, timeout)
	} else {
		k.ctx, k.cancel = context.WithCancel(ctx)
	}
	k.unwatch = context.AfterFunc(c.peer.Gone, k.cancel)
	return k
}

func (k *call) end() {
	k.unwatch()
	k.cancel()
}

// explain tells the reasons apart for which gRPC has the same few codes.
func (k *call) explain(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable:
		if hasDetail(err) {
			break
		}
		return k.explainEnd(err)
	}
	err = fault.FromGRPC(err)
	if e, ok := err.(*fault.Error); ok && e.Op == "" {
		e.Op = operation(k.method)
	}
	return err
}

func (k *call) explainEnd(err error) error {
	if errors.Is(k.caller.Err(), context.Canceled) {
		return fmt.Errorf("%s: %w", operation(k.method), context.Canceled)
	}
	if k.late() {
		return &fault.Error{
			Reason: fault.Unavailable, Op: operation(k.method),
			Cause: fmt.Errorf("%s gave no answer within %s: %w", k.peer.Name, time.Since(k.start).Round(10*time.Millisecond), context.DeadlineExceeded),
		}
	}
	wait := goneGrace
	if k.peer.Gone.Done() == nil {
		wait = 0 // nobody watches it
	}
	grace := time.NewTimer(wait)
	defer grace.Stop()
	select {
	case <-k.peer.Gone.Done():
		cause := fmt.Errorf("%s %w", k.peer.Name, ErrGone)
		if k.peer.LastWords != nil {
			if words := k.peer.LastWords(); words != "" {
				cause = fmt.Errorf("%w: %s", cause, words)
			}
		}
		return &fault.Error{Reason: fault.Unavailable, Op: operation(k.method), Cause: cause}
	case <-k.caller.Done():
		return k.explainEnd(err)
	case <-grace.C:
	}
	cause := fault.FromGRPC(err).Error() // text only: if a context ended, it was one of the peer's own
	return &fault.Error{Reason: fault.Unavailable, Op: operation(k.method), Cause: fmt.Errorf("%s: %s", k.peer.Name, cause)}
}

// late reports whether the call's deadline has passed. The peer has the same one, and may notice it first.
func (k *call) late() bool {
	deadline, has := k.ctx.Deadline()
	return has && time.Until(deadline) < 50*time.Millisecond
}

// hasDetail reports whether the peer itself chose the code; without details it may come from gRPC on either side.
func hasDetail(err error) bool {
	s, ok := status.FromError(err)
	return ok && len(s.Proto().GetDetails()) > 0
}

// stream ends its call with the first error of a receive, end of stream included, and with the answer if there is but one.
type stream struct {
	grpc.ClientStream
	call   *call
	single bool
}

func (s *stream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil && !s.single {
		return nil
	}
	err = s.call.explain(err)
	s.call.end()
	return err
}

func (s *stream) SendMsg(m any) error { return s.call.explain(s.ClientStream.SendMsg(m)) }

func (s *stream) CloseSend() error { return s.call.explain(s.ClientStream.CloseSend()) }

// operation makes "/vzctl.hypervisor.v1.Hypervisor/AttachDevice" into "attach device".
func operation(method string) string {
	var b strings.Builder
	for i, r := range path.Base(method) {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
