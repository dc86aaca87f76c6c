package supervisor

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/health"
	"github.com/vzctl/vzctl/core/store"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// rarely is a check that nobody lives to see: its probes are those that are asked for.
var rarely = health.Check{Test: []string{"CMD", "ask"}, Interval: time.Hour, Retries: 2}

// checked makes a rig whose container has a health check, answered so, and runs.
func checked(t *testing.T, check health.Check, answer func(ctx context.Context) (*guestv1.Exit, error)) *rig {
	t.Helper()
	r := newRig(t, func(c *store.Container) { c.Health = &check })
	r.vm.answer = answer
	r.start()
	return r
}

func codes(codes ...int32) func(context.Context) (*guestv1.Exit, error) {
	var n atomic.Int32
	return func(context.Context) (*guestv1.Exit, error) {
		i := min(int(n.Add(1)), len(codes)) - 1
		return &guestv1.Exit{Code: codes[i]}, nil
	}
}

// health waits until what others read of the container's health is so.
func (r *rig) health(what string, so func(health.State) bool) {
	r.t.Helper()
	for ctx := r.context(); ; {
		var state health.State
		err := store.ReadJSON(r.store.Paths().ContainerHealth(r.id), &state)
		if err == nil && so(state) {
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("it is not %s but %+v, %v", what, state, err)
		case <-time.After(time.Millisecond):
		}
	}
}

func (r *rig) finish() {
	r.t.Helper()
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		r.t.Error(err)
	}
}

func TestAContainerIsProbedFromTimeToTimeAndItsStatusIsToldWhenItChanges(t *testing.T) {
	often := rarely
	often.Interval = 1 // nanosecond, which is not taken at its word
	r := checked(t, often, codes(0, 0, 9, 9, 9))
	r.health("unhealthy", func(s health.State) bool { return s.Status == health.Unhealthy && s.FailingStreak > 2 })
	r.finish()
	text, err := os.ReadFile(r.store.Paths().Events())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"health_status"`); n != 2 {
		t.Errorf("told %d times:\n%s", n, text)
	}
}

func TestWhoAsksNowIsAnsweredNow(t *testing.T) {
	r := checked(t, rarely, codes(0, 3))
	r.health("starting", func(s health.State) bool { return s.Status == health.Starting })
	for _, want := range []int{0, 3} {
		code, _, status, err := r.client.CheckHealth(r.context())
		if code != want || status != "healthy" || err != nil {
			t.Errorf("exit code %d, %s, %v", code, status, err)
		}
	}
	r.health("failing", func(s health.State) bool { return s.FailingStreak == 1 && len(s.Log) == 2 })
	r.finish()
}

func TestAProbeThatTakesTooLongIsKilledAndAFailure(t *testing.T) {
	slow := rarely
	slow.Timeout = 1
	r := checked(t, slow, func(ctx context.Context) (*guestv1.Exit, error) { <-ctx.Done(); return nil, ctx.Err() })
	code, output, _, err := r.client.CheckHealth(r.context())
	if code != health.TimedOut || !strings.Contains(string(output), "no answer within") || err != nil {
		t.Errorf("exit code %d, %q, %v", code, output, err)
	}
	if r.vm.mu.Lock(); r.vm.killed != 1 {
		t.Errorf("killed %d", r.vm.killed)
	}
	r.vm.mu.Unlock()
	r.finish()
}

func TestACommandThatIsNotThereIsAFailureThatSaysSo(t *testing.T) {
	r := checked(t, rarely, codes(0))
	r.vm.mu.Lock()
	r.vm.fail["exec"] = &fault.Error{Reason: fault.NotFound, Op: "execute", Subject: "ask"}
	r.vm.mu.Unlock()
	if code, output, _, err := r.client.CheckHealth(r.context()); code != health.TimedOut || !strings.Contains(string(output), `"ask"`) || err != nil {
		t.Errorf("exit code %d, %q, %v", code, output, err)
	}
	r.finish()
}

func TestAPausedContainerIsNotProbed(t *testing.T) {
	probing := make(chan struct{}, 1)
	var answers atomic.Bool
	r := checked(t, rarely, func(ctx context.Context) (*guestv1.Exit, error) {
		if answers.Load() {
			return &guestv1.Exit{}, nil
		}
		probing <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	asked := make(chan error, 1)
	go func() {
		_, _, _, err := r.client.CheckHealth(r.context())
		asked <- err
	}()
	<-probing
	if err := r.client.Pause(r.context()); err != nil {
		t.Fatal(err)
	}
	if err := <-asked; err == nil {
		t.Error("a probe that a pause has overtaken counts")
	}
	if _, _, _, err := r.client.CheckHealth(r.context()); !errors.Is(err, fault.FailedPrecondition) || !strings.Contains(err.Error(), "paused") {
		t.Errorf("error %v", err)
	}
	answers.Store(true)
	if err := r.client.Unpause(r.context()); err != nil {
		t.Fatal(err)
	}
	if _, _, status, err := r.client.CheckHealth(r.context()); status != "healthy" || err != nil {
		t.Errorf("afterwards: %s, %v", status, err)
	}
	r.health("asked once", func(s health.State) bool { return len(s.Log) == 1 })
	// One that is stopped while it is paused ends as others do.
	if err := r.client.Pause(r.context()); err != nil {
		t.Fatal(err)
	}
	if err := r.client.Stop(r.context(), 15, time.Minute); err != nil {
		t.Error(err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestAProbeDoesNotHoldUpACheckpointAndCountsForNothing(t *testing.T) {
	probing := make(chan struct{}, 1)
	r := checked(t, rarely, func(ctx context.Context) (*guestv1.Exit, error) {
		probing <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	asked := make(chan error, 1)
	go func() {
		_, _, _, err := r.client.CheckHealth(r.context())
		asked <- err
	}()
	<-probing
	if err := r.client.Checkpoint(r.context(), true, false); err != nil {
		t.Error(err)
	}
	if err := <-asked; err == nil || !strings.Contains(err.Error(), "stands still") {
		t.Errorf("who asked got %v", err)
	}
	r.health("starting", func(s health.State) bool { return s.Status == health.Starting && len(s.Log) == 0 })
	r.finish()
}

func TestWithoutACheckThereIsNothingToAsk(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	if _, _, _, err := r.client.CheckHealth(r.context()); !errors.Is(err, fault.FailedPrecondition) || !strings.Contains(err.Error(), "no health check") {
		t.Errorf("error %v", err)
	}
	r.finish()
	if _, err := os.Stat(r.store.Paths().ContainerHealth(r.id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it has a state: %v", err)
	}
}
