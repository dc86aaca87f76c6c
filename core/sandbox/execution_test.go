package sandbox

import (
	"context"
	"net"

	"google.golang.org/grpc"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// execution is a further process in the guest.
type execution struct {
	asked   *guestv1.CreateProcessRequest
	streams map[guestv1.StreamKind]net.Conn // the guest's ends
	ended   chan struct{}
	deleted chan struct{}
}

func (e *execution) wait(ctx context.Context) (*guestv1.WaitProcessResponse, error) {
	select {
	case <-e.ended:
		return &guestv1.WaitProcessResponse{Exit: &guestv1.Exit{Code: 7}}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// exits ends the process and its output.
func (e *execution) exits() {
	for _, conn := range e.streams {
		_ = conn.Close()
	}
	close(e.ended)
}

func (w *world) execution(id string) *execution {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.exec[id]
}

func (g *guest) CreateProcess(_ context.Context, r *guestv1.CreateProcessRequest, _ ...grpc.CallOption) (*guestv1.CreateProcessResponse, error) {
	g.mu.Lock()
	g.exec[r.ProcessId] = &execution{asked: r, streams: map[guestv1.StreamKind]net.Conn{}, ended: make(chan struct{}), deleted: make(chan struct{})}
	brief := g.brief
	g.mu.Unlock()
	if r.Start {
		if brief == nil || r.BriefMilliseconds == 0 {
			brief = &guestv1.CreateProcessResponse{}
		}
		return brief, g.do("start exec")
	}
	return &guestv1.CreateProcessResponse{}, nil
}

func (g *guest) DeleteProcess(_ context.Context, r *guestv1.DeleteProcessRequest, _ ...grpc.CallOption) (*guestv1.DeleteProcessResponse, error) {
	if g.forget != nil {
		<-g.forget
	}
	close(g.execution(r.ProcessId).deleted)
	return &guestv1.DeleteProcessResponse{}, nil
}
