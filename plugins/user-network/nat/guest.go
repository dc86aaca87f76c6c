package nat

import (
	"container/list"
	"context"
	"sync"
)

// closer ends a connection or flow at once. It is called at most once.
type closer interface{ abort() }

// guest is what one endpoint has open.
type guest struct {
	ctx    context.Context // ends with the endpoint
	cancel context.CancelFunc

	mu      sync.Mutex
	gone    bool
	open    map[closer]struct{} // TCP
	dialing int
	queries int
	flows   list.List // UDP, of *flow, the one used last in front
}

// cut ends everything and admits nothing more.
func (g *guest) cut() {
	g.cancel()
	g.mu.Lock()
	g.gone = true
	var all []closer
	for c := range g.open {
		all = append(all, c)
	}
	for e := g.flows.Front(); e != nil; e = g.flows.Front() {
		all = append(all, g.flows.Remove(e).(*flow))
	}
	g.open = map[closer]struct{}{}
	g.mu.Unlock()
	for _, c := range all {
		c.abort()
	}
}

// reserve counts one more of n up to a bound.
func (g *guest) reserve(n *int, bound int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone || *n >= bound {
		return false
	}
	*n++
	return true
}

func (g *guest) release(n *int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	*n--
}

// keep remembers an open connection, up to a bound.
func (g *guest) keep(c closer, bound int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone || len(g.open) >= bound {
		return false
	}
	g.open[c] = struct{}{}
	return true
}

func (g *guest) forget(c closer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, c)
}

// keepFlow remembers a flow. Above the bound it returns the one that was used longest ago, which must end. False: the guest is gone.
func (g *guest) keepFlow(f *flow, bound int) (*flow, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return nil, false
	}
	f.place = g.flows.PushFront(f)
	if g.flows.Len() <= bound {
		return nil, true
	}
	oldest := g.flows.Back().Value.(*flow)
	g.flows.Remove(oldest.place)
	return oldest, true
}

func (g *guest) useFlow(f *flow) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flows.MoveToFront(f.place)
}

func (g *guest) forgetFlow(f *flow) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flows.Remove(f.place)
}
