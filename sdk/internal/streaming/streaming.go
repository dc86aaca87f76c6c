// Package streaming carries calls that answer with a stream: progress and then one result, or events until somebody leaves. Every kind uses it.
package streaming

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/progress"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

// interval between two updates of one item; what comes faster is dropped, unless it completes the item.
const interval = 50 * time.Millisecond

// Serve runs work with a function that reports its progress over the stream, from any goroutine, and sends its result.
// Updates after the result are dropped.
func Serve[M any](stream grpc.ServerStreamingServer[M], wrap func(*pluginv1.Progress) *M, work func(progress.Func) (*M, error)) error {
	r := &reporter{send: func(p *pluginv1.Progress) error { return stream.Send(wrap(p)) }, last: map[string]time.Time{}}
	result, err := work(r.report)
	r.close()
	if err != nil {
		return err
	}
	return stream.Send(result)
}

// Watch runs watch with a function that sends an event; it is called from one goroutine at a time, as the events' order demands. The context of watch ends
// when the host leaves.
func Watch[M any](stream grpc.ServerStreamingServer[M], watch func(ctx context.Context, send func(*M)) error) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	return watch(ctx, func(m *M) {
		if stream.Send(m) != nil {
			cancel()
		}
	})
}

type reporter struct {
	send func(*pluginv1.Progress) error

	mu     sync.Mutex
	closed bool
	last   map[string]time.Time
}

func (r *reporter) report(u progress.Update) {
	r.mu.Lock()
	defer r.mu.Unlock()
	complete := u.Total > 0 && u.Done >= u.Total
	now := time.Now()
	if r.closed || !complete && now.Sub(r.last[u.Item]) < interval {
		return
	}
	r.last[u.Item] = now
	// A host that no longer listens has cancelled the call's context, which is how the work learns of it.
	_ = r.send(ProgressToProto(u))
}

func (r *reporter) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// Await reports progress until the result comes. Open starts the call, split says which of the two a message is.
func Await[M, R any](
	ctx context.Context, open func(context.Context) (grpc.ServerStreamingClient[M], error),
	split func(*M) (*pluginv1.Progress, *R), report progress.Func,
) (*R, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a result is the end of the call, whatever the plugin does after it
	stream, err := open(ctx)
	if err != nil {
		return nil, err
	}
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil, &fault.Error{Reason: fault.Internal, Cause: errors.New("the plugin ended the call without a result")}
		case err != nil:
			return nil, err
		}
		p, result := split(m)
		if p != nil {
			report.Report(ProgressFromProto(p))
		}
		if result != nil {
			return result, nil
		}
	}
}

// Events calls event for every message until the stream ends or event fails.
func Events[M any](ctx context.Context, open func(context.Context) (grpc.ServerStreamingClient[M], error), event func(*M) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := open(ctx)
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := event(m); err != nil {
			return err
		}
	}
}

// ProgressToProto converts an update.
func ProgressToProto(u progress.Update) *pluginv1.Progress {
	p := &pluginv1.Progress{Step: u.Step, Item: u.Item, Done: u.Done, Total: u.Total}
	switch u.Unit {
	case progress.Bytes:
		p.Unit = pluginv1.Progress_UNIT_BYTES
	case progress.Items:
		p.Unit = pluginv1.Progress_UNIT_ITEMS
	}
	return p
}

// ProgressFromProto converts an update.
func ProgressFromProto(p *pluginv1.Progress) progress.Update {
	u := progress.Update{Step: p.Step, Item: p.Item, Done: p.Done, Total: p.Total}
	switch p.Unit {
	case pluginv1.Progress_UNIT_BYTES:
		u.Unit = progress.Bytes
	case pluginv1.Progress_UNIT_ITEMS:
		u.Unit = progress.Items
	}
	return u
}
