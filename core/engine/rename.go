package engine

import (
	"context"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
)

// Rename gives a container another name. Its supervisor, if it has one, reads the record when it needs the name.
func (e *Engine) Rename(ctx context.Context, ref, name string) error {
	id, err := e.store.Resolve(ref)
	if err != nil {
		return err
	}
	c, err := e.store.Rename(ctx, id, name, func(c *store.Container) error { return c.Advance(lifecycle.Rename) })
	if err != nil {
		return err
	}
	e.tell(ctx, "container", "rename", c.ID, c.Name)
	return nil
}
