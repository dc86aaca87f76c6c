package container

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
)

// Keep takes down which containers there are, and returns what undoes all that has been and will be done with them, Close included, which leaves their disks
// mounted as a machine that ends has no use for more. After that there is no container, new ones are taken, and what was prepared for the first is there again.
func (r *Runtime) Keep() (reopen func(context.Context) error) {
	r.mu.Lock()
	kept := slices.Collect(maps.Values(r.containers))
	r.mu.Unlock()
	return func(ctx context.Context) error {
		var errs []error
		for _, c := range r.List() {
			errs = append(errs, r.Delete(ctx, c.ID))
		}
		for _, c := range kept {
			if _, err := os.Lstat(c.dir); errors.Is(err, os.ErrNotExist) {
				continue // nothing is left of it
			}
			errs = append(errs, c.destroy(ctx, nil, false))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		return r.reopen()
	}
}

func (r *Runtime) reopen() error {
	r.mu.Lock()
	r.closed = false
	if r.watchers == nil {
		r.watchers = map[chan Event]bool{}
	}
	there := r.spare != nil
	r.mu.Unlock()
	if there {
		return nil
	}
	r.pipes.Refill()
	made, err := newSpare(r)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spare = made
	return nil
}
