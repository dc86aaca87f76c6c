package supervisor

import (
	"context"

	"google.golang.org/grpc"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

func (g fakeGuest) RunProcess(ctx context.Context, r *guestv1.RunProcessRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[guestv1.RunProcessResponse], error) {
	return &fakeLife{ctx: ctx, fakeGuest: g, process: r.ProcessId}, nil
}

// fakeLife is a process that is run and waited for by one call.
type fakeLife struct {
	grpc.ClientStream
	fakeGuest
	ctx     context.Context
	process string
	started bool
}

func (l *fakeLife) Recv() (*guestv1.RunProcessResponse, error) {
	if !l.started {
		l.started = true
		started, err := l.StartProcess(l.ctx, &guestv1.StartProcessRequest{ProcessId: l.process})
		return &guestv1.RunProcessResponse{Of: &guestv1.RunProcessResponse_Started{Started: started}}, err
	}
	ended, err := l.WaitProcess(l.ctx, &guestv1.WaitProcessRequest{ProcessId: l.process})
	return &guestv1.RunProcessResponse{Of: &guestv1.RunProcessResponse_Exit{Exit: ended.GetExit()}}, err
}
