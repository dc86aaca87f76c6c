package engine

import (
	"context"
	"errors"

	"github.com/vzctl/vzctl/core/events"
	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

// PruneContainers removes the containers that do not run, as Remove does, and returns them. Those stay that have a checkpoint, or that Autostart would start: they have not ended, but wait.
func (e *Engine) PruneContainers(ctx context.Context) (removed []Container, err error) {
	entries, err := e.store.List()
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if entry.Err != nil || !ended(entry.Container) {
			continue
		}
		was, removeErr := e.prune(ctx, entry.ID)
		switch {
		case removeErr != nil && !errors.Is(removeErr, fault.NotFound): // else another has removed it
			err = errors.Join(err, removeErr)
		case was != nil:
			removed = append(removed, *was)
		}
	}
	return removed, err
}

// ended says whether nobody waits for a container to go on.
func ended(c store.Container) bool {
	switch c.State {
	case lifecycle.Created, lifecycle.Stopped, lifecycle.Failed:
		return c.Checkpoint == nil && !startsAtBoot(c)
	case lifecycle.Removing: // by one who was killed, or has the container's lock
		return true
	}
	return false
}

// prune removes a container unless it is used again by now.
func (e *Engine) prune(ctx context.Context, id string) (*Container, error) {
	held, err := e.lockSettled(ctx, id)
	if err != nil {
		return nil, err
	}
	defer held.Close()
	c, err := e.store.Get(id)
	if err != nil || !ended(c) {
		return nil, err
	}
	was := e.view(c)
	return &was, e.discard(ctx, id, false, false)
}

// PruneImages frees what no image has any more: layers that were not pulled to their end, and disks that were made of images that are gone. With all it first removes the
// images that no container has, and returns them. While somebody creates a container or pulls it does nothing, and the error is fault.InUse.
func (e *Engine) PruneImages(ctx context.Context, all bool) (removed []Image, freedBytes int64, err error) {
	release, alone, err := e.images.TryAlone()
	if err != nil {
		return nil, 0, err
	}
	if !alone {
		return nil, 0, &fault.Error{Reason: fault.InUse, Op: "prune images", Cause: errors.New("they are in use: an image is being pulled or committed, or a container created"),
			Hint: "try again when that has ended"}
	}
	defer func() { err = errors.Join(err, release()) }()
	if all {
		if removed, err = e.removeUnused(ctx); err != nil {
			return removed, 0, err
		}
	}
	if freedBytes, err = e.images.Collect(); err != nil {
		return removed, freedBytes, err
	}
	freed, err := e.dropRootfs(ctx)
	return removed, freedBytes + freed, err
}

// removeUnused removes the references of images that no container has. What they lead to stays.
func (e *Engine) removeUnused(ctx context.Context) (removed []Image, err error) {
	entries, err := e.store.List()
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, entry := range entries {
		if entry.Err != nil {
			return nil, entry.Err // nobody knows what it has
		}
		names[entry.Container.Image] = true
	}
	leases, err := e.store.Leases()
	if err != nil {
		return nil, err
	}
	images, err := e.images.List()
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		if names[image.Name] || names[image.Reference] || len(leases.Manifests[image.Manifest.Digest]) > 0 {
			continue
		}
		_, removeErr := e.images.Remove(ctx, image.Reference) // which frees nothing while this process has the store
		switch {
		case removeErr == nil:
			e.tell(ctx, events.Event{Type: "image", Action: "remove", Name: image.Reference})
			removed = append(removed, imageView(image))
		case !errors.Is(removeErr, fault.NotFound):
			err = errors.Join(err, removeErr)
		}
	}
	return removed, err
}
