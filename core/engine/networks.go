package engine

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"

	"github.com/vzctl/vzctl/core/lock"
)

// ListNetworks returns the networks containers can be on, and who is. It reads files and asks locks.
func (e *Engine) ListNetworks(ctx context.Context) ([]NetworkView, error) {
	names := map[string]bool{DefaultNetwork: true}
	for name := range e.config.Networks {
		names[name] = true
	}
	entries, err := e.store.List()
	if err != nil {
		return nil, err
	}
	var views []NetworkView
	for _, name := range slices.Sorted(maps.Keys(names)) {
		running, err := lock.Held(e.store.Paths().NetworkLife(name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		v := NetworkView{Name: name, Plugin: e.host.Choice("network", e.config.Networks[name].Plugin), Running: running,
			Subnet: e.config.Networks[name].SubnetV4}
		for _, entry := range entries {
			c := entry.Container
			if entry.Err == nil && c.Network == name && c.State.Active() {
				v.Endpoints = append(v.Endpoints, c.ID)
				if v.Subnet == "" && c.Run != nil && len(c.Run.Addresses) > 0 {
					v.Subnet = c.Run.Addresses[0].Masked().String()
				}
			}
		}
		views = append(views, v)
	}
	return views, ctx.Err()
}
