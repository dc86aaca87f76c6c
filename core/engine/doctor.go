package engine

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// Doctor looks for what a container would miss on this host. Each check that fails names what mends it.
func (e *Engine) Doctor(ctx context.Context) ([]Check, error) {
	checks := []Check{e.checkRoot(), e.checkInit()}
	for _, kind := range sdk.Kinds() {
		if e.host.Choice(kind) == "" {
			continue
		}
		checks = append(checks, e.checkPlugin(ctx, kind)...)
	}
	checks = append(checks, e.checkKernel(ctx))
	return checks, ctx.Err()
}

func (e *Engine) checkRoot() Check {
	root := e.store.Paths().Root
	c := Check{Name: "root", Detail: root}
	f, err := os.CreateTemp(root, ".doctor-")
	if err != nil {
		c.Detail, c.Fix = err.Error(), "give a directory that you can write to with --root or VZCTL_ROOT"
		return c
	}
	_ = f.Close() // nothing was written
	if err := os.Remove(f.Name()); err != nil {
		c.Detail = err.Error()
		return c
	}
	c.OK = true
	return c
}

func (e *Engine) checkInit() Check {
	path, err := e.Initrd(runtime.GOARCH)
	if err != nil {
		return Check{Name: "init image", Detail: err.Error(), Fix: "make all"}
	}
	return Check{Name: "init image", Detail: path, OK: true}
}

// checkPlugin starts the plugin that serves a kind. What it misses on this host it says in its capabilities.
func (e *Engine) checkPlugin(ctx context.Context, kind sdk.Kind) []Check {
	c := Check{Name: string(kind)}
	plugin, err := e.host.Find(ctx, kind, "")
	if err != nil {
		c.Detail, c.Fix = err.Error(), "make all, or choose another plugin in config.toml under [plugins.use]"
		return []Check{c}
	}
	info, err := e.pluginInfo(ctx, kind, plugin.Path, true)
	if err != nil {
		c.Detail = err.Error()
		return []Check{c}
	}
	c.OK, c.Detail = true, fmt.Sprintf("%s %s", info.Name, info.Version)
	checks := []Check{c}
	fixes := info.Capabilities[sdk.CapabilityFix]
	for i, problem := range info.Capabilities[sdk.CapabilityProblem] {
		p := Check{Name: info.Name, Detail: problem}
		if i < len(fixes) {
			p.Fix = fixes[i]
		}
		checks = append(checks, p)
	}
	if kind == sdk.Hypervisor {
		checks = append(checks, checkHypervisor(info), checkShares(info))
	}
	return checks
}

func checkHypervisor(info sdk.Info) Check {
	arches := info.Capabilities[hypervisor.CapabilityArch]
	accelerators := info.Capabilities[hypervisor.CapabilityAccelerator]
	c := Check{Name: "accelerator", OK: true, Detail: "none"}
	if len(accelerators) > 0 {
		c.Detail = accelerators[0]
	}
	if notes := info.Capabilities[sdk.CapabilityNote]; len(notes) > 0 {
		c.Detail += ": " + strings.Join(notes, "; ")
	}
	if !info.Offers(hypervisor.CapabilityArch, runtime.GOARCH) {
		c.OK, c.Detail = false, fmt.Sprintf("%s runs no %s guests, only %q", info.Name, runtime.GOARCH, arches)
	}
	return c
}

// checkShares tells how directories of the host can be mounted. That one way is missing is no failure: it is named for who wants it.
func checkShares(info sdk.Info) Check {
	types := info.Capabilities[hypervisor.CapabilityShare]
	c := Check{Name: "mounts", OK: true, Detail: "directories of the host by " + strings.Join(types, ", ")}
	if len(types) == 0 {
		c.Detail = "no directories of the host"
	}
	for _, problem := range info.Capabilities[hypervisor.CapabilityShareProblem] {
		c.Detail += "; not by " + problem
	}
	return c
}

func (e *Engine) checkKernel(ctx context.Context) Check {
	c := Check{Name: "kernel"}
	k, err := e.Kernel(ctx, "", "", nil)
	if err != nil {
		c.Detail, c.Fix = err.Error(), "make kernel"
		return c
	}
	c.OK, c.Detail = true, fmt.Sprintf("%s %s, %s", k.Name, k.Version, k.Path)
	return c
}
