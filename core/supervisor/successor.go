package supervisor

import (
	"sync"
	"time"
)

// successor decides when the supervisor is made that waits for the next sandbox: that takes processors for some 20 ms, from this sandbox's start or from what else the host does. Who starts one container after
// another needs it as soon as this one is over; others, rather, that nothing is in the way of this start. A nil one makes none.
type successor struct {
	hurry bool
	once  sync.Once
	do    func()

	mu    sync.Mutex
	quiet *time.Timer // begun when the sandbox runs
}

// soon is how short a time a supervisor has waited if the next one is probably wanted as soon, too.
const soon = 250 * time.Millisecond

// quietTime is how long after a start there is none in the way of.
const quietTime = 100 * time.Millisecond

func newSuccessor(hurry bool, do func()) *successor { return &successor{hurry: hurry, do: do} }

func (n *successor) make() { n.once.Do(n.do) }

// onItsWay is called while the VM does what its host waits for.
func (n *successor) onItsWay() {
	if n != nil && n.hurry {
		go n.make()
	}
}

// started is called when the container runs.
func (n *successor) started() {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.quiet = time.AfterFunc(quietTime, n.make)
}

// atItsEnd is called when nobody waits for this supervisor any more. It returns when the next one is made, unless this start has failed.
func (n *successor) atItsEnd() {
	if n == nil {
		return
	}
	n.mu.Lock()
	quiet := n.quiet
	n.mu.Unlock()
	if quiet != nil {
		quiet.Stop()
		n.make()
	}
}
