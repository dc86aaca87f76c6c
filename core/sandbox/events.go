package sandbox

import (
	"context"
	"errors"
	"time"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// watchEvents hears what the guest tells by itself, until ctx ends. It begins late, so that a start is not slower for it: what a short life lacks of memory its end
// tells.
func (s *Sandbox) watchEvents(ctx context.Context) {
	if s.env.OutOfMemory == nil {
		return
	}
	for {
		select {
		case <-time.After(s.probing.every): // also between two attempts
		case <-ctx.Done():
			return
		}
		s.saving.rest(ctx)
		if err := s.hearEvents(ctx); errors.Is(err, fault.Unsupported) || ctx.Err() != nil {
			return
		}
	}
}

// hearEvents returns when the connection is lost; what it means that it is others decide.
func (s *Sandbox) hearEvents(ctx context.Context) error {
	events, err := s.guest.Watch(ctx, &guestv1.WatchRequest{})
	if err != nil {
		return err
	}
	for {
		event, err := events.Recv()
		if err != nil {
			return err
		}
		if event.GetContainerId() == s.spec.ContainerID && event.GetOutOfMemory() != nil {
			s.env.OutOfMemory()
		}
	}
}
