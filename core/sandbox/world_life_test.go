package sandbox

import (
	"context"

	"google.golang.org/grpc"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

func (g *guest) RunProcess(ctx context.Context, r *guestv1.RunProcessRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[guestv1.RunProcessResponse], error) {
	return &life{ctx: ctx, guest: g, process: r.ProcessId, brief: r.Brief}, nil
}

// life is a process that is run and waited for by one call.
type life struct {
	grpc.ClientStream
	*guest
	ctx     context.Context
	process string
	brief   bool
	started bool
}

func (l *life) Recv() (*guestv1.RunProcessResponse, error) {
	if !l.started {
		l.started = true
		started, err := l.StartProcess(l.ctx, &guestv1.StartProcessRequest{ProcessId: l.process})
		return &guestv1.RunProcessResponse{Of: &guestv1.RunProcessResponse_Started{Started: started}}, err
	}
	ended, err := l.WaitProcess(l.ctx, &guestv1.WaitProcessRequest{ProcessId: l.process})
	response := &guestv1.RunProcessResponse{Of: &guestv1.RunProcessResponse_Exit{Exit: ended.GetExit()}}
	if l.brief {
		response.Output = l.output
	}
	return response, err
}
