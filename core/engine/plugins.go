package engine

import (
	"context"
	"errors"
	"os"
	"syscall"
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

// ensureKernel has the kernel provider give one kernel.
func (e *Engine) ensureKernel(ctx context.Context, reference, arch, choice string, report progress.Func) (kernel.Kernel, error) {
	running, err := e.host.Start(ctx, sdk.KernelProvider, choice)
	if err != nil {
		return kernel.Kernel{}, err
	}
	defer e.closePlugin(running)
	return kernel.NewClient(running.Conn(), running.Info()).Ensure(ctx,
		kernel.EnsureRequest{Arch: arch, Reference: absolute(reference), CacheDir: e.store.Paths().Kernels()}, report)
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
// and what was wrongly allowed the plugin refuses itself.
func (e *Engine) matchCapabilities(ctx context.Context, c *store.Container, b *store.Sandbox, guest kernel.Kernel, disks int) error {
	need := capability.Need{Arch: b.Arch, CPUs: b.CPUs, MemoryBytes: b.MemoryBytes, KernelFormat: guest.Format}
	for range disks {
		need.Disks = append(need.Disks, hypervisor.DiskFile)
	}
	for option := range b.HypervisorOptions {
		need.Options = append(need.Options, option)
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

// remembered is what a plugin said of itself, with what tells whether its file is still the same.
type remembered struct {
	Info    sdk.Info  `json:"info"`
	Size    int64     `json:"size"`
	Inode   uint64    `json:"inode"`
	ModTime time.Time `json:"modTime"`
}

// pluginInfo returns what the plugin at path says of itself. Asking takes a process, so answers are kept; fresh asks anyway.
func (e *Engine) pluginInfo(ctx context.Context, kind sdk.Kind, path string, fresh bool) (sdk.Info, error) {
	file := e.store.Paths().PluginCache()
	known := map[string]remembered{}
	if err := store.ReadJSON(file, &known); err != nil && !errors.Is(err, os.ErrNotExist) {
		e.log.Warn("what plugins said is asked again", "error", err)
		known = map[string]remembered{}
	}
	now, err := identify(path)
	if err != nil {
		return sdk.Info{}, err
	}
	if was, ok := known[path]; ok && !fresh && was.Size == now.Size && was.Inode == now.Inode && was.ModTime.Equal(now.ModTime) {
		return was.Info, nil
	}
	running, err := e.host.Start(ctx, kind, path)
	if err != nil {
		return sdk.Info{}, err
	}
	now.Info = running.Info()
	e.closePlugin(running)
	known[path] = now
	if err := store.WriteJSON(file, known, false); err != nil {
		e.log.Warn("cannot remember what a plugin said", "error", err)
	}
	return now.Info, nil
}

func identify(path string) (remembered, error) {
	info, err := os.Stat(path)
	if err != nil {
		return remembered{}, err
	}
	r := remembered{Size: info.Size(), ModTime: info.ModTime()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		r.Inode = stat.Ino
	}
	return r, nil
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
