package engine

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"

	"github.com/vzctl/vzctl/core/config"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/store"
)

// ListNetworks returns the networks containers can be on, and who is. It reads files and asks locks.
func (e *Engine) ListNetworks(ctx context.Context) ([]NetworkView, error) {
	entries, err := e.store.List()
	if err != nil {
		return nil, err
	}
	var active []store.Container
	for _, entry := range entries {
		if entry.Err == nil && entry.Container.State.Active() {
			active = append(active, entry.Container)
		}
	}
	views := networkViews(e.config.Networks, active)
	for i := range views {
		v := &views[i]
		v.Plugin = e.host.Choice("network", e.config.Networks[v.Name].Plugin)
		v.Running, err = lock.Held(e.store.Paths().NetworkLife(v.Name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return views, ctx.Err()
}

// networkViews lists the networks of the configuration, and those that containers are on still, with what these know of them: a network keeps its settings
// while it is in use.
func networkViews(configured map[string]config.Network, active []store.Container) []NetworkView {
	views := map[string]*NetworkView{DefaultNetwork: {Name: DefaultNetwork}}
	for name, n := range configured {
		views[name] = &NetworkView{Name: name, Subnet: subnetOf(n.SubnetV4), SubnetV6: subnetOf(n.SubnetV6)}
	}
	for _, c := range active {
		if c.Network == "" {
			continue
		}
		v := views[c.Network]
		if v == nil {
			v = &NetworkView{Name: c.Network}
			views[c.Network] = v
		}
		v.Endpoints = append(v.Endpoints, c.ID)
		if c.Run != nil && len(c.Run.Addresses) > 0 {
			v.Subnet, v.SubnetV6 = "", ""
			for _, a := range c.Run.Addresses {
				if a.Addr().Is4() {
					v.Subnet = a.Masked().String()
				} else {
					v.SubnetV6 = a.Masked().String()
				}
			}
		}
	}
	var all []NetworkView
	for _, name := range slices.Sorted(maps.Keys(views)) {
		all = append(all, *views[name])
	}
	return all
}

// subnetOf leaves out what is chosen when the network is made, and a family that is turned off.
func subnetOf(configured string) string {
	if configured == "none" {
		return ""
	}
	return configured
}
