package agent

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// serveLaunches is CreateProcess over a connection of its own, one request after the other.
func (a *Agent) serveLaunches(ctx context.Context, conn net.Conn) {
	if writeHeader(conn, &guestv1.StreamResponse{}) != nil || conn.SetDeadline(time.Time{}) != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	requests := make(chan *guestv1.CreateProcessRequest)
	go func() {
		defer cancel() // what is being answered is taken back
		defer close(requests)
		for {
			request := &guestv1.CreateProcessRequest{}
			if err := readHeader(conn, request, maxMessage); err != nil {
				return // a host that sends no message is as good as gone
			}
			select {
			case requests <- request:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		_ = conn.Close() // which ends the read
		for range requests {
		}
	}()
	for request := range requests {
		result, err := a.launch(ctx, request)
		if err != nil || writeMessage(conn, result) != nil {
			return
		}
	}
}

// launch returns a LaunchResult.
func (a *Agent) launch(ctx context.Context, request *guestv1.CreateProcessRequest) ([]byte, error) {
	created, err := a.CreateProcess(ctx, request)
	result := &guestv1.LaunchResult{Created: created}
	if err != nil {
		if result.Error, err = proto.Marshal(status.Convert(toGRPC(err)).Proto()); err != nil {
			return nil, err
		}
	}
	return proto.Marshal(result)
}
