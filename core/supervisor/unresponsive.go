package supervisor

import (
	"context"
	"time"

	"github.com/vzctl/vzctl/core/store"
)

// unresponsiveTimeout bounds the wait for a record that others change: who calls unresponsive goes on asking the guest.
const unresponsiveTimeout = 10 * time.Second

// unresponsive records and tells that the guest has stopped answering, and why; with "" that it answers again.
func (s *supervision) unresponsive(why string) {
	ctx, cancel := context.WithTimeout(context.Background(), unresponsiveTimeout)
	defer cancel()
	_, err := s.store.Update(ctx, s.container.ID, func(c *store.Container) error {
		if c.Run == nil {
			return nil
		}
		c.Run.Unresponsive = nil
		if why != "" {
			c.Run.Unresponsive = &store.Unresponsive{Since: time.Now(), Message: why}
		}
		return nil
	})
	if err != nil {
		s.log.Warn("cannot record whether the guest answers", "error", err)
	}
	if why == "" {
		s.log.Info("the guest answers again")
		s.tell(ctx, "responsive", nil)
		return
	}
	s.log.Warn(why)
	s.tell(ctx, "unresponsive", map[string]string{"reason": why})
}
