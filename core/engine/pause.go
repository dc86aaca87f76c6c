package engine

import (
	"context"

	"github.com/vzctl/vzctl/core/lifecycle"
)

// Pause lets a running container stand still.
func (e *Engine) Pause(ctx context.Context, ref string) error {
	s, err := e.connect(ref, lifecycle.Pause)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Pause(ctx)
}

// Unpause lets a paused container go on.
func (e *Engine) Unpause(ctx context.Context, ref string) error {
	s, err := e.connect(ref, lifecycle.Resume)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Unpause(ctx)
}
