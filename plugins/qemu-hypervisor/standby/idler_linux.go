package standby

import (
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
)

// parkAfter is how long after a copy was made the next is begun, at the latest: by then the container has what it needs of the CPUs. If the copy has ended before, that is the time.
const parkAfter = time.Second

// idler has the next copy begun while nobody waits for one.
type idler struct {
	due   chan struct{}
	last  *fork.Original // that a copy was made of
	timer *time.Timer
}

func newIdler() *idler {
	i := &idler{due: make(chan struct{}, 1)}
	i.timer = time.AfterFunc(parkAfter, i.ended)
	return i
}

func (i *idler) stop() { i.timer.Stop() }

func (i *idler) used(original *fork.Original) {
	i.last = original
	i.timer.Reset(parkAfter)
}

// ended is called by anybody when a copy has.
func (i *idler) ended() {
	select {
	case i.due <- struct{}{}:
	default:
	}
}

// park begins a copy of what was copied last, if that still can be.
func (i *idler) park(p *primer) {
	if i.last != nil && p.has(i.last) && i.last.Park() != nil {
		i.last = nil // who asks for a copy hears why
	}
}
