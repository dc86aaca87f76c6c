package standby

import (
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
)

// parkAfter is how long after a copy was made the next is begun: by then the container has what it needs of the CPUs.
const parkAfter = time.Second

// idler has the next copy begun while nobody waits for one.
type idler struct {
	due   chan struct{}
	last  *fork.Original // that a copy was made of
	timer *time.Timer
}

func newIdler() *idler {
	i := &idler{due: make(chan struct{}, 1)}
	i.timer = time.AfterFunc(parkAfter, func() {
		select {
		case i.due <- struct{}{}:
		default:
		}
	})
	return i
}

func (i *idler) stop() { i.timer.Stop() }

func (i *idler) used(original *fork.Original) {
	i.last = original
	i.timer.Reset(parkAfter)
}

// ended is called by anybody when a copy has: who runs one container after another asks for the next some 20 ms later. Where others are just starting that takes a CPU from them, but no more than
// the next start would, which would wait for it.
func (i *idler) ended() { i.timer.Reset(0) }

// park has a copy begun of what was copied last, if that still can be.
func (i *idler) park(p *primer) {
	if original := i.last; original != nil && p.has(original) {
		go func() { _ = original.Park() }() // who asks for a copy hears why there is none
	}
}
