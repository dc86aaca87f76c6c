package container

import (
	"context"
	"slices"
	"sync"
	"time"

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

// direct counts the processes that are being made without a helper.
type direct struct {
	mu       sync.Mutex
	going    int
	none     chan struct{} // closed when there are none any more; of those that are going
	intruded bool          // no more are to be made
}

func (d *direct) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.intruded {
		return false
	}
	if d.going++; d.going == 1 {
		d.none = make(chan struct{})
	}
	return true
}

func (d *direct) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.going--; d.going == 0 {
		close(d.none)
	}
}

// guard waits, before a process starts that intrudes, for those that are being made without a helper, and has no more of them made.
func (d *direct) guard(ctx context.Context, p *specs.Process) error {
	if !intrudes(p) {
		return nil
	}
	d.mu.Lock()
	d.intruded = true
	going, none := d.going, d.none
	d.mu.Unlock()
	if going == 0 {
		return nil
	}
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startDirect starts a further process without a helper; nil if that is not possible, for whatever reason. Of one that ends within patience it returns when it has.
func (p *Process) startDirect(ctx context.Context, request launch.Request, patience time.Duration) *launch.Started {
	c := p.container
	if !c.direct.begin() {
		return nil
	}
	defer c.direct.end()
	root := c.rootDirectory()
	if root == nil {
		return nil
	}
	started, err := launch.Direct(ctx, c.runtime.reaper, request, root, &c.known, patience)
	if err != nil { // which a helper will say better
		return nil
	}
	return started
}
