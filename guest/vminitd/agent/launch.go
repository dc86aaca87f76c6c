package agent

import (
	"bufio"
	"context"
	"errors"
	"net"
	"time"

	"google.golang.org/protobuf/proto"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// serveLaunches is CreateProcess over a connection of its own, one request after the other.
func (a *Agent) serveLaunches(ctx context.Context, conn net.Conn) {
	if writeHeader(conn, &guestv1.StreamResponse{}) != nil || conn.SetDeadline(time.Time{}) != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	requests := make(chan *guestv1.CreateProcessRequest)
	reader := bufio.NewReader(conn)
	go func() {
		defer cancel() // what is being answered is taken back
		defer close(requests)
		for {
			request := &guestv1.CreateProcessRequest{}
			if err := readHeader(reader, request, maxMessage); err != nil {
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
		created, err := a.createProcess(ctx, request)
		result, err := launched(created, err)
		if err == nil {
			err = writeMessage(conn, result)
		}
		switch {
		case created.GetExit() != nil: // now, as nobody waits for it
			err = errors.Join(err, a.forget(request))
		case created != nil && request.Start && (err != nil || ctx.Err() != nil): // the host may not know of it
			err = errors.Join(err, ctx.Err(), a.discard(ctx, request))
		}
		if err != nil {
			return
		}
		a.runtime.Rest()
	}
}

// launched returns a LaunchResult.
func launched(created *guestv1.CreateProcessResponse, err error) ([]byte, error) {
	result := &guestv1.LaunchResult{Created: created}
	if err != nil {
		if result.Error, err = fault.Marshal(asFault(err)); err != nil {
			return nil, err
		}
	}
	return proto.Marshal(result)
}
