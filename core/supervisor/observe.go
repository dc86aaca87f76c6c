package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/core/footprint"
	"github.com/vzctl/vzctl/core/lifecycle"
	supervisorv1 "github.com/vzctl/vzctl/core/proto/vzctl/supervisor/v1"
	"github.com/vzctl/vzctl/core/sandbox"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// minInterval between two answers of Stats.
const minInterval = 100 * time.Millisecond

// endingTimeout is how long the container's end may come after the failure of what was asked of its guest.
const endingTimeout = 2 * time.Second

// Stats sends what the container uses until it ends.
func (s *server) Stats(request *supervisorv1.StatsRequest, stream grpc.ServerStreamingServer[supervisorv1.StatsResponse]) error {
	interval := time.Duration(min(request.IntervalMilliseconds, uint64(time.Hour/time.Millisecond))) * time.Millisecond
	if interval < minInterval {
		return &fault.Error{Reason: fault.Invalid, Op: "observe container", Cause: fmt.Errorf("every %s is too often", interval)}
	}
	if err := s.running(lifecycle.Observe); err != nil {
		return err
	}
	ctx, over := s.untilEnd(stream.Context())
	defer over()
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	var last *guestv1.ContainerStatsResponse
	for {
		answer, err := s.box.Stats(ctx)
		switch {
		case err == nil:
			last = answer
		case !errors.Is(err, sandbox.ErrStill):
			return s.unlessEnded(stream.Context(), err)
		}
		if last != nil { // otherwise it was never looked at
			host, err := footprint.Of(os.Getpid())
			if err != nil {
				s.log.Debug("cannot tell the memory of the sandbox", "error", err) // which is then not known
			}
			if err := stream.Send(convertStats(last, host)); err != nil {
				return err
			}
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return stream.Context().Err()
		}
	}
}

// untilEnd returns a context that ends with the container, too.
func (s *supervision) untilEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.recorded:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// unlessEnded returns nil if the reason of an error turns out to be the container's end.
func (s *supervision) unlessEnded(ctx context.Context, err error) error {
	select {
	case <-s.recorded:
		return nil
	case <-ctx.Done():
	case <-time.After(endingTimeout):
	}
	return err
}

func convertStats(a *guestv1.ContainerStatsResponse, host uint64) *supervisorv1.StatsResponse {
	return &supervisorv1.StatsResponse{UptimeNanoseconds: a.UptimeNanoseconds, CpuNanoseconds: a.CpuNanoseconds, CpuSystemNanoseconds: a.CpuSystemNanoseconds,
		MemoryBytes: a.MemoryBytes, MemoryReclaimableBytes: a.MemoryReclaimableBytes, MemoryLimitBytes: a.MemoryLimitBytes, Pids: a.Pids, PidsLimit: a.PidsLimit,
		BlockReadBytes: a.BlockReadBytes, BlockWriteBytes: a.BlockWriteBytes, NetworkReceiveBytes: a.NetworkReceiveBytes, NetworkSendBytes: a.NetworkSendBytes,
		NetworkReceivePackets: a.NetworkReceivePackets, NetworkSendPackets: a.NetworkSendPackets, HostMemoryBytes: host}
}

// Top sends the processes of the container.
func (s *server) Top(_ *supervisorv1.TopRequest, stream grpc.ServerStreamingServer[supervisorv1.TopResponse]) error {
	if err := s.running(lifecycle.Observe); err != nil {
		return err
	}
	return s.box.Processes(stream.Context(), func(part []*guestv1.ContainerProcess) error {
		answer := &supervisorv1.TopResponse{}
		for _, p := range part {
			answer.Processes = append(answer.Processes, &supervisorv1.Process{Pid: p.Pid, ParentPid: p.ParentPid, UserId: p.UserId, User: p.User, State: p.State,
				CpuNanoseconds: p.CpuNanoseconds, AgeNanoseconds: p.AgeNanoseconds, ResidentBytes: p.ResidentBytes, Terminal: p.Terminal, Command: p.Command})
		}
		return stream.Send(answer)
	})
}

// Stats calls each with what the container uses, at once and after each interval, until it has ended, or each fails.
func (c *Client) Stats(ctx context.Context, interval time.Duration, each func(*supervisorv1.StatsResponse) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.Stats(ctx, &supervisorv1.StatsRequest{IntervalMilliseconds: uint64(interval.Milliseconds())})
	if err != nil {
		return err
	}
	return receive(stream, each)
}

// Top returns the processes of the container.
func (c *Client) Top(ctx context.Context) (all []*supervisorv1.Process, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.Top(ctx, &supervisorv1.TopRequest{})
	if err != nil {
		return nil, err
	}
	err = receive(stream, func(part *supervisorv1.TopResponse) error {
		all = append(all, part.Processes...)
		return nil
	})
	return all, err
}

func receive[T any](stream grpc.ServerStreamingClient[T], each func(*T) error) error {
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(message); err != nil {
			return err
		}
	}
}
