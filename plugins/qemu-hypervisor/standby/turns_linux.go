package standby

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/vzctl/vzctl/sdk/rendezvous"
)

const (
	// startsFor is how long a copy is taken to start its container, unless it ends before: nobody tells.
	startsFor = 250 * time.Millisecond
	// turnPatience is how long one waits for its turn at most. Those who ask wait longer than that, see askPatience.
	turnPatience = 2 * time.Second
	// turnsPerCPU is how many copies may be starting for each CPU: while the guest of one waits for its host, another has something to do.
	turnsPerCPU = 2
)

// turns has those who ask begin a few at a time where many ask at once: a machine computes as long as it starts, and forty that share two CPUs take a tenth longer until the last has started than if few of them do.
// It belongs to one goroutine, but for what begun returns.
type turns struct {
	most  int32
	queue []asking // who has asked first is first
	wake  chan struct{}
	late  *time.Timer // that the first in the queue has waited too long

	starting atomic.Int32
}

func newTurns(most int) *turns {
	t := &turns{most: int32(most), wake: make(chan struct{}, 1), late: time.NewTimer(turnPatience)}
	t.late.Stop()
	return t
}

// add lets one wait for its turn.
func (t *turns) add(a asking, now time.Time) {
	a.since = now
	t.queue = append(t.queue, a)
}

// next returns whose turn it is; ok is false if it is nobody's. It is to be asked again when somebody was added, and after wake and late.
func (t *turns) next(now time.Time) (a asking, ok bool) {
	if len(t.queue) == 0 {
		t.late.Stop()
		return a, false
	}
	a = t.queue[0]
	if waits := turnPatience - now.Sub(a.since); waits > 0 && t.starting.Load() >= t.most {
		t.late.Reset(waits)
		return asking{}, false
	}
	t.queue = t.queue[1:]
	return a, true
}

// begun counts a copy that starts its container from now on, until ended is called, by anybody, or it must have started.
func (t *turns) begun() (ended func()) {
	t.starting.Add(1)
	ended = sync.OnceFunc(func() {
		t.starting.Add(-1)
		select {
		case t.wake <- struct{}{}:
		default:
		}
	})
	time.AfterFunc(startsFor, ended)
	return ended
}

// close turns away who is waiting.
func (t *turns) close() {
	t.late.Stop()
	for _, a := range t.queue {
		rendezvous.CloseAll(a.files)
		_ = a.conn.Close()
	}
	t.queue = nil
}
