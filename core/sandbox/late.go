package sandbox

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// featureBriefRun is the guest's ability to tell, with the end of the first process, all that it wrote, unless its streams have been opened.
const featureBriefRun = "brief-run"

// briefTime is how long after a process has executed its streams are opened, if it has not ended by then. To open them takes an emulated guest, whose one CPU is what is short, 5 ms, in which a brief
// process has ended. What goes on writes this much later, and one that writes more than its pipes hold stands still for so long; both see it once.
const briefTime = 30 * time.Millisecond

// lateStreams are those of a first process that runs before they are opened, as it may have ended by then, and its end tells what it wrote.
type lateStreams struct {
	ctx    context.Context // ends with the interest in what the process writes
	cancel context.CancelFunc

	wanted  chan struct{} // closed when they are to be opened at once
	hasten  sync.Once
	settled chan struct{} // closed when they are open, or the output has come otherwise, or is lost
}

func newLateStreams() *lateStreams {
	l := &lateStreams{wanted: make(chan struct{}), settled: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// opensLate reports whether the streams are opened after the process has begun, after which what it wrote to one of two outputs comes as a whole. Who gives it input wants it to have that at once, and a terminal is the process's to make.
func (s *Sandbox) opensLate() bool {
	return s.spec.Apart && s.bornEnded() && s.spec.Restore == nil && s.guest.Offers(featureBriefRun)
}

// settle returns when nothing is left to be done about streams that are opened late, which are opened now: a guest that is to stand still could not open them.
func (s *Sandbox) settle(ctx context.Context) error {
	if s.late == nil {
		return nil
	}
	s.late.hasten.Do(func() { close(s.late.wanted) })
	return s.late.await(ctx)
}

func (l *lateStreams) await(ctx context.Context) error {
	select {
	case <-l.settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeOutput passes on what a process has written that ends soon, and opens the streams of one that does not. It is one of the pumps.
func (s *Sandbox) takeOutput(l *lateStreams, r *lifelong) {
	defer close(l.settled)
	patience := time.NewTimer(briefTime)
	defer patience.Stop()
	select {
	case <-r.ended:
	case <-patience.C:
	case <-l.wanted:
	case <-l.ctx.Done():
	}
	output := r.output()
	if output == nil {
		err := s.join(l.ctx, false)
		if err == nil {
			return
		}
		// A process that has ended meanwhile has no streams any more: what it wrote is on its way.
		select {
		case <-r.ended:
		case <-l.ctx.Done():
		}
		if output = r.output(); output == nil && l.ctx.Err() == nil {
			s.env.Logger.Warn("output of the container is lost", "error", err)
		}
	}
	// Of what is lost at least the end comes. In which order the process wrote to the two nobody knows; so it is always the same, with what may be a complaint last. It fits into what a connection
	// holds, so that nobody waits for a client of the first.
	s.pumps.Go(func() {
		s.pass(s.Stdout, bytes.NewReader(output.GetStdout()), logStdout)
		s.pass(s.Stderr, bytes.NewReader(output.GetStderr()), logStderr)
	})
}
