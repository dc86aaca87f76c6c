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
	told := &rate{}
	for {
		select {
		case <-time.After(s.probing.every): // also between two attempts
		case <-ctx.Done():
			return
		}
		s.saving.rest(ctx)
		if err := s.hearEvents(ctx, told); errors.Is(err, fault.Unsupported) || ctx.Err() != nil {
			return
		}
	}
}

// hearEvents returns when the connection is lost; what it means that it is others decide.
func (s *Sandbox) hearEvents(ctx context.Context, told *rate) error {
	events, err := s.guest.Watch(ctx, &guestv1.WatchRequest{OutOfMemoryOnly: true})
	if err != nil {
		return err
	}
	for {
		event, err := events.Recv()
		if err != nil {
			return err
		}
		if event.GetContainerId() == s.spec.ContainerID && event.GetOutOfMemory() != nil && told.another(time.Now()) {
			s.env.OutOfMemory()
		}
	}
}

// eventBurst is how many events are told at once; later there is one for each eventPause. The log of events is everybody's, and no guest shall fill it.
const (
	eventBurst = 10
	eventPause = time.Second
)

// rate bounds how often something is told.
type rate struct {
	spent int
	since time.Time
}

// another reports whether there may be another one now.
func (r *rate) another(now time.Time) bool {
	if paid := int(now.Sub(r.since) / eventPause); paid > 0 {
		r.spent, r.since = max(0, r.spent-paid), now
	}
	if r.spent >= eventBurst {
		return false
	}
	r.spent++
	return true
}
