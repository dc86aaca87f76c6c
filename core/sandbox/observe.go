package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// observeTimeout bounds the guest's answer to who only looks.
const observeTimeout = 30 * time.Second

// maxProcesses is more than a guest's kernel has ids for by default, and maxProcessBytes more than is to be told of them all. A guest that tells of more is lying, and whoever
// asks keeps it all.
const (
	maxProcesses    = 1 << 16
	maxProcessBytes = 32 << 20
)

// ErrStill is returned by Stats while the VM stands still, to be saved or because it is paused: nothing changes meanwhile.
var ErrStill = errors.New("the VM stands still")

// Stats returns what the container has used, by the guest's word.
func (s *Sandbox) Stats(ctx context.Context) (*guestv1.ContainerStatsResponse, error) {
	mark := s.saving.begun()
	if s.saving.stoodStill(mark) {
		return nil, ErrStill
	}
	ctx, cancel := context.WithTimeoutCause(ctx, observeTimeout, errNoAnswer)
	defer cancel()
	answer, err := s.guest.ContainerStats(ctx, &guestv1.ContainerStatsRequest{ContainerId: s.spec.ContainerID})
	if err != nil {
		if s.saving.stoodStill(mark) {
			return nil, ErrStill
		}
		return nil, explained(ctx, err)
	}
	return answer, nil
}

var errNoAnswer = errors.New("the guest does not answer")

// Processes calls each with the processes of the container, in parts.
func (s *Sandbox) Processes(ctx context.Context, each func([]*guestv1.ContainerProcess) error) error {
	s.saving.rest(ctx)
	ctx, cancel := context.WithTimeoutCause(ctx, observeTimeout, errNoAnswer)
	defer cancel()
	stream, err := s.guest.ListProcesses(ctx, &guestv1.ListProcessesRequest{ContainerId: s.spec.ContainerID})
	if err != nil {
		return explained(ctx, err)
	}
	for sum, size := 0, 0; ; {
		part, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return explained(ctx, err)
		}
		if sum += max(1, len(part.GetProcesses())); sum > maxProcesses { // parts without any have no end otherwise
			return fmt.Errorf("the guest tells of more than %d processes", maxProcesses)
		}
		if size += proto.Size(part); size > maxProcessBytes {
			return fmt.Errorf("the guest tells of more than %d bytes of its processes", maxProcessBytes)
		}
		if err := each(part.GetProcesses()); err != nil {
			return err
		}
	}
}
