package engine

import (
	"context"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
)

// Rename gives a container another name. Its supervisor, if it has one, reads the record when it needs the name.
func (e *Engine) Rename(ctx context.Context, ref, name string) error {
	old, err := e.store.Find(ref)
	if err != nil {
		return err
	}
	c, err := e.store.Rename(ctx, old.ID, name, func(c *store.Container) error { return c.Advance(lifecycle.Rename) })
	if err != nil {
		return err
	}
	renamed := aboutContainer("rename", c)
	renamed.Attributes = map[string]string{"image": c.Image, "oldName": old.Name}
	e.tell(ctx, renamed)
	return nil
}
