package container

import (
	"context"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/guest/vminitd/launch"
)

// A further process that is made without a helper (launch.Direct) shares vminitd's memory for a moment in which it is the container's already. Nobody may look into it then but who has
// CAP_SYS_PTRACE, and CAP_SYS_ADMIN lets the container change what it is told of its own root. So a container in which a process has one of these, or may have had, has its further processes made by helpers.
var intrusive = []string{"CAP_SYS_PTRACE", "CAP_SYS_ADMIN"}

// intrudes reports whether a process may get one of them.
func intrudes(p *specs.Process) bool {
	c := p.Capabilities
	if c == nil {
		return false
	}
	for _, set := range [][]string{c.Bounding, c.Permitted, c.Effective, c.Inheritable, c.Ambient} {
		if slices.ContainsFunc(set, func(name string) bool { return slices.Contains(intrusive, name) }) {
			return true
		}
	}
	return false
}

// guard waits, before a process starts that intrudes, for those that are being made without a helper, and has no more of them made.
func (c *Container) guard(p *specs.Process) {
	if intrudes(p) {
		c.direct.Lock()
		defer c.direct.Unlock()
		c.intruded = true
	}
}

// startDirect starts a further process without a helper; nil if that is not possible, for whatever reason.
func (p *Process) startDirect(ctx context.Context, request launch.Request) *launch.Started {
	c := p.container
	if !c.direct.TryRLock() {
		return nil
	}
	defer c.direct.RUnlock()
	if c.intruded {
		return nil
	}
	root := c.rootDirectory()
	if root == nil {
		return nil
	}
	defer func() { _ = root.Close() }()
	started, err := launch.Direct(ctx, c.runtime.reaper, request, root)
	if err != nil { // which a helper will say better
		return nil
	}
	return started
}
