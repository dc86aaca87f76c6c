package sandbox

import (
	"context"
	"fmt"
	"time"

	"github.com/vzctl/vzctl/core/footprint"
)

// probing is how a guest that has stopped answering is told from one that is slow. An emulated machine under load takes seconds for what takes a millisecond
// otherwise. So that it does not answer is told soon, which harms nobody if it does a little later; but its VM is ended for it after many times that only, and not
// for one probe alone: this very process may have been held up.
type probing struct {
	every    time.Duration
	tell     time.Duration // after which a probe without an answer is told of
	patience time.Duration // with each probe
	misses   int           // in a row, for which the VM is ended
}

// With these it is told 5 to 10 s after a guest has hung, and the VM is ended 40 to 45 s after that.
var defaultProbing = probing{every: 5 * time.Second, tell: 5 * time.Second, patience: 20 * time.Second, misses: 2}

// awaitHang returns when the agent does not answer although its connection stands, or at the end of ctx. While the sandbox is being saved, or paused, nobody answers.
func (s *Sandbox) awaitHang(ctx context.Context) Outcome {
	quiet := quiet{pid: int(s.vm.PID), tell: s.env.Unresponsive}
	for missed := 0; missed < s.probing.misses; {
		if missed == 0 {
			select {
			case <-time.After(s.probing.every):
			case <-ctx.Done():
				return Outcome{}
			}
		}
		s.saving.rest(ctx)
		before := s.saving.begun()
		if missed == 0 {
			quiet.begin()
		}
		probe, cancel := context.WithTimeout(ctx, s.probing.patience)
		asked := time.Now()
		told, err := s.ask(probe, func() {
			if !s.saving.stoodStill(before) {
				quiet.grows()
			}
		})
		answered := time.Now()
		late := probe.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return Outcome{}
		case s.saving.passed(ctx, before):
			missed = 0
		case err != nil && late:
			missed++
		case err == nil:
			missed = 0
			quiet.end()
			s.keepTime(ctx, told, asked, answered)
		default:
			missed = 0 // it has answered; a lost connection is noticed by who waits for the process
		}
	}
	return hung(fmt.Sprintf("the guest's agent has not answered for %s%s", time.Duration(s.probing.misses)*s.probing.patience, quiet.meanwhile()))
}

// ask returns what the guest answers to a probe. late is called before, if that takes long.
func (s *Sandbox) ask(ctx context.Context, late func()) (told time.Time, err error) {
	answered := make(chan struct{})
	go func() { told, err = s.guest.Answers(ctx); close(answered) }() // which ctx ends
	soon := time.NewTimer(s.probing.tell)
	defer soon.Stop()
	select {
	case <-answered:
		return told, err
	case <-soon.C:
	}
	if ctx.Err() == nil {
		late()
	}
	<-answered
	return told, err
}

// quiet is a time in which the guest does not answer.
type quiet struct {
	pid  int              // of the VM's process; 0: it is not known
	tell func(why string) // nil: nobody wants to know

	since  time.Time
	before footprint.Activity // then
	known  bool               // is before
	told   bool
}

// begin is called when the guest is asked, whether or not it will answer.
func (q *quiet) begin() {
	q.since, q.known = time.Now(), false
	if q.pid > 0 {
		before, err := footprint.ActivityOf(q.pid)
		q.before, q.known = before, err == nil
	}
}

// grows is called when an answer is late.
func (q *quiet) grows() {
	if q.told || q.tell == nil {
		return
	}
	q.told = true
	q.tell("the guest does not answer" + q.meanwhile())
}

// end is called when it has answered.
func (q *quiet) end() {
	if q.told {
		q.told = false
		q.tell("")
	}
}

// busy is the share of a processor from which on a VM is at work: one that only keeps time takes a hundredth.
const busy = 0.1

// meanwhile says what the VM has been doing, which tells a guest that runs in circles from one that stands, and both from a process that somebody has stopped. It
// is empty if that is not known.
func (q *quiet) meanwhile() string {
	if !q.known {
		return ""
	}
	now, err := footprint.ActivityOf(q.pid)
	if err != nil {
		return "" // it has ended, which others will tell
	}
	share := float64(now.CPU-q.before.CPU) / float64(time.Since(q.since))
	switch {
	case now.Stopped:
		return fmt.Sprintf("; the process of its VM, %d, is stopped by a signal", q.pid)
	case share < busy:
		return "; its VM is idle"
	}
	return fmt.Sprintf("; its VM is busy, with %.0f %% of a CPU", 100*share)
}
