package sandbox

import (
	"context"
	"errors"
	"sync"

	"github.com/vzctl/vzctl/sdk/fault"
)

// saving is who is saving or pausing the sandbox, and who must not do anything meanwhile.
type saving struct {
	turn chan struct{} // held by the one who saves, or for as long as the VM is paused

	mu      *sync.Mutex
	count   int           // how often it was begun
	going   chan struct{} // nil unless it is being saved or is paused; closed when that is over
	refusal error         // of others, while it is going
	others  int           // who are preparing what would be in the way
	outcome chan Outcome  // has the end of a sandbox that was saved, or did not go on
}

func newSaving() saving {
	return saving{turn: make(chan struct{}, 1), mu: &sync.Mutex{}, outcome: make(chan Outcome, 1)}
}

var errSaving = &fault.Error{Reason: fault.FailedPrecondition, Op: "execute in container", Cause: errors.New("it is being checkpointed")}

// exclude keeps the sandbox from being saved until done is called.
func (g *saving) exclude() (done func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.going != nil {
		return nil, g.refusal
	}
	g.others++
	return func() {
		g.mu.Lock()
		g.others--
		g.mu.Unlock()
	}, nil
}

// begin waits for its turn, and returns what ends it. free says whether nothing is in the way.
func (g *saving) begin(ctx context.Context, free func() error) (end func(), err error) {
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.others > 0 {
		err = errors.New("a process is being started in it")
	} else {
		err = free()
	}
	if err != nil {
		<-g.turn
		return nil, &fault.Error{Reason: fault.FailedPrecondition, Op: "checkpoint container", Cause: err, Hint: "try again when that has ended"}
	}
	return g.hold(errSaving), nil
}

// pause waits for its turn, and returns what ends the pause. Nothing is in its way: what is being prepared stands still with the VM.
func (g *saving) pause(ctx context.Context) (end func(), err error) {
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hold(errPaused), nil
}

// hold begins what others are refused for. The turn is held, and g.mu.
func (g *saving) hold(refusal error) (end func()) {
	g.count++
	g.going, g.refusal = make(chan struct{}), refusal
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		close(g.going)
		g.going = nil
		<-g.turn
	}
}

// begun is a mark for passed.
func (g *saving) begun() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.going != nil {
		return g.count - 1
	}
	return g.count
}

// stoodStill reports whether the VM stands still, or has since the mark. It does not wait.
func (g *saving) stoodStill(mark int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.going != nil || g.count != mark
}

// rest waits while the sandbox is being saved, or until ctx ends.
func (g *saving) rest(ctx context.Context) { g.passed(ctx, 0) }

// passed reports whether the sandbox has been saved, or failed to, since the mark, and waits until that is over, or ctx ends.
func (g *saving) passed(ctx context.Context, mark int) bool {
	g.mu.Lock()
	count, going := g.count, g.going
	g.mu.Unlock()
	if going != nil {
		select {
		case <-going:
		case <-ctx.Done():
		}
	}
	return count != mark
}
