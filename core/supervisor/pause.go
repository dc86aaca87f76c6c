package supervisor

import (
	"context"
	"errors"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
)

// pauses are one after the other.
type pauses struct {
	turn chan struct{} // held by the one who pauses, or ends a pause
}

func (p *pauses) begin(ctx context.Context) (end func(), err error) {
	select {
	case p.turn <- struct{}{}:
		return func() { <-p.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pause lets the container stand still. It is on record once it does; if it cannot be, the container goes on.
func (s *supervision) pause(ctx context.Context) error {
	end, err := s.pauses.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := s.allowed(lifecycle.Pause); err != nil {
		return err
	}
	// A probe that stands still would be taken for one that is slow.
	release, err := s.prober.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := s.box.Pause(ctx); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.advance(ctx, lifecycle.Pause); err != nil {
		return errors.Join(err, s.box.Unpause(ctx))
	}
	s.tell(ctx, "pause", nil)
	return nil
}

// unpause lets a paused container go on.
func (s *supervision) unpause(ctx context.Context) error {
	end, err := s.pauses.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := s.allowed(lifecycle.Resume); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // once it goes on this must be on record
	err = s.box.Unpause(ctx)
	if s.box.Paused() {
		return err
	}
	s.tell(ctx, "unpause", nil)
	return errors.Join(err, s.advance(ctx, lifecycle.Resume))
}

// goOn ends a pause of a container that is about to stop, as is on record: its processes must hear of it, and no further pause is allowed.
func (s *supervision) goOn(ctx context.Context) {
	end, err := s.pauses.begin(ctx)
	if err != nil {
		return // and nobody stops it
	}
	defer end()
	if err := s.box.Unpause(ctx); err != nil {
		s.log.Warn("the container is paused, and is to stop", "error", err)
	}
}

func (s *supervision) advance(ctx context.Context, event lifecycle.Event) error {
	_, err := s.store.Update(ctx, s.container.ID, func(c *store.Container) error { return c.Advance(event) })
	return err
}

// allowed refuses what the container's record does not allow now.
func (s *supervision) allowed(event lifecycle.Event) error {
	c, err := s.store.Get(s.container.ID)
	if err != nil {
		return err
	}
	return c.Advance(event)
}
