package engine

import (
	"context"
	"errors"
	"time"

	"github.com/vzctl/vzctl/core/capability"
	"github.com/vzctl/vzctl/core/pluginhost"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/progress"
)

// closeTimeout is how long a plugin may take to end when its work is done.
const closeTimeout = 5 * time.Second

// closePlugin ends a plugin whose work is done. That it does not end well does not undo the work.
func (e *Engine) closePlugin(running *pluginhost.Running) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := running.Close(ctx); err != nil {
		e.log.Warn("a plugin did not end well", "plugin", running.Path, "error", err)
	}
}

// choosePlugins resolves the plugins that a start will need, and records them by path: what serves a container does not change under it.
func (e *Engine) choosePlugins(ctx context.Context, r CreateRequest, c *store.Container, b *store.Sandbox) error {
	hv, err := e.host.Find(ctx, sdk.Hypervisor, r.Plugins[sdk.Hypervisor])
	if err != nil {
		return err
	}
	b.Hypervisor = hv.Path
	c.Plugins[sdk.Hypervisor] = hv.Path
	if b.Network == "" {
		return nil
	}
	choice := e.host.Choice(sdk.Network, r.Plugins[sdk.Network], e.config.Networks[b.Network].Plugin)
	nw, err := e.host.Find(ctx, sdk.Network, choice)
	if err != nil {
		return err
	}
	b.NetworkPlugin = nw.Path
	c.Plugins[sdk.Network] = nw.Path
	return nil
}

// matchCapabilities refuses what the chosen plugins do not offer. What they said last may be outdated in either direction: a refusal asks anew,
// and what was wrongly allowed the plugin refuses itself. The record of the sandbox gets what a network must know of the hypervisor.
func (e *Engine) matchCapabilities(ctx context.Context, c *store.Container, b *store.Sandbox, guest kernel.Kernel, disks int) error {
	need := capability.Need{Arch: b.Arch, CPUs: b.CPUs, MemoryBytes: b.MemoryBytes, KernelFormat: guest.Format}
	for range disks {
		need.Disks = append(need.Disks, hypervisor.DiskFile)
	}
	for _, m := range store.Devices(c.Mounts) {
		switch m.Type {
		case store.MountBind:
			need.Shares = append(need.Shares, m.Transport)
			if m.Ownership == hypervisor.OwnershipMapped {
				need.Ownerships = append(need.Ownerships, m.Ownership)
			}
		case store.MountVolume:
			need.Disks = append(need.Disks, hypervisor.DiskFile)
		}
	}
	for option := range b.HypervisorOptions {
		need.Options = append(need.Options, option)
	}
	if b.Nested {
		need.Features = append(need.Features, hypervisor.FeatureNestedVirt)
	}
	if b.Network != "" {
		need.NICs = 1
	}
	match := func(fresh bool) (refusal, err error) {
		var offer capability.Offer
		offer.Hypervisor, err = e.pluginInfo(ctx, sdk.Hypervisor, b.Hypervisor, fresh)
		if err != nil {
			return nil, err
		}
		b.Links = offer.Hypervisor.Capabilities[hypervisor.CapabilityLink]
		if b.Network != "" {
			info, err := e.pluginInfo(ctx, sdk.Network, b.NetworkPlugin, fresh)
			if err != nil {
				return nil, err
			}
			offer.Network = &info
		}
		_, refusal = capability.Match(need, offer)
		return refusal, nil
	}
	refusal, err := match(false)
	if refusal != nil {
		refusal, err = match(true)
	}
	return errors.Join(refusal, err)
}

// ListPlugins starts each plugin there is and asks what it is.
func (e *Engine) ListPlugins(ctx context.Context) ([]PluginView, error) {
	listed, err := e.host.List(ctx)
	if err != nil {
		return nil, err
	}
	views := make([]PluginView, len(listed))
	for i, l := range listed {
		views[i] = pluginView(l)
	}
	return views, nil
}

// InspectPlugin asks one plugin what it is.
func (e *Engine) InspectPlugin(ctx context.Context, nameOrPath string) (PluginView, error) {
	l, err := e.host.Inspect(ctx, nameOrPath)
	if err != nil {
		return PluginView{}, err
	}
	return pluginView(l), nil
}

func pluginView(l pluginhost.Listed) PluginView {
	v := PluginView{Name: l.Name, Path: l.Path, Default: l.Selected, Info: l.Info}
	if l.Info != nil {
		v.Kind, v.Version = l.Info.Kind, l.Info.Version
	}
	if l.Err != nil {
		v.Error = l.Err.Error()
	}
	return v
}

// ListKernels returns the kernels there are.
func (e *Engine) ListKernels(ctx context.Context) ([]kernel.Kernel, error) {
	running, err := e.host.Start(ctx, sdk.KernelProvider, "")
	if err != nil {
		return nil, err
	}
	defer e.closePlugin(running)
	return kernel.NewClient(running.Conn(), running.Info()).List(ctx, "", e.store.Paths().Kernels())
}

// Kernel returns the kernel a container would get.
func (e *Engine) Kernel(ctx context.Context, reference, platform string, report progress.Func) (kernel.Kernel, error) {
	arch, err := archOf(firstNonEmpty(platform, e.hostPlatform()))
	if err != nil {
		return kernel.Kernel{}, err
	}
	return e.ensureKernel(ctx, firstNonEmpty(reference, e.config.Defaults.Kernel), arch, "", report)
}
