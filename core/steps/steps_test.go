package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// world records what steps do to it.
type world struct {
	mu     sync.Mutex
	things []string
	log    []string
}

func (w *world) step(name string, fail error, needs ...string) Step {
	return Step{Name: name, Needs: needs,
		Do: func(context.Context) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if fail != nil {
				return fail
			}
			w.things = append(w.things, name)
			w.log = append(w.log, "do "+name)
			return nil
		},
		Undo: func(context.Context) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.things = slices.DeleteFunc(w.things, func(n string) bool { return n == name })
			w.log = append(w.log, "undo "+name)
			return nil
		},
	}
}

func TestEachStepFailingInTurnLeavesNothing(t *testing.T) {
	for failing := range 4 {
		t.Run(fmt.Sprintf("step %d", failing), func(t *testing.T) {
			var w world
			broken := errors.New("broken")
			fail := func(i int) error {
				if i == failing {
					return broken
				}
				return nil
			}
			_, err := Run(t.Context(), []Step{
				w.step("a", fail(0)), w.step("b", fail(1), "a"), w.step("c", fail(2), "a"), w.step("d", fail(3), "b", "c")})
			if !errors.Is(err, broken) {
				t.Errorf("error %v", err)
			}
			if len(w.things) > 0 {
				t.Errorf("left: %v, after %v", w.things, w.log)
			}
		})
	}
}

func TestUndoIsTheReverseOfWhatWasDone(t *testing.T) {
	var w world
	done, err := Run(t.Context(), []Step{w.step("a", nil), w.step("b", nil, "a"), w.step("c", nil, "b")})
	if err != nil {
		t.Fatal(err)
	}
	if err := done.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.log, ", "); got != "do a, do b, do c, undo c, undo b, undo a" {
		t.Error(got)
	}
	if len(done.Phases) != 3 {
		t.Errorf("%d phases", len(done.Phases))
	}
}

func TestStepsThatNeedNothingOfEachOtherRunSideBySide(t *testing.T) {
	meet := make(chan struct{})
	_, err := Run(t.Context(), []Step{
		{Name: "left", Do: func(ctx context.Context) error {
			select {
			case meet <- struct{}{}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}},
		{Name: "right", Do: func(ctx context.Context) error {
			select {
			case <-meet:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAFailureCancelsWhatRunsBesideItAndIsTheOneReported(t *testing.T) {
	broken := errors.New("broken")
	running := make(chan struct{})
	_, err := Run(t.Context(), []Step{
		{Name: "waits", Do: func(ctx context.Context) error { close(running); <-ctx.Done(); return ctx.Err() }},
		{Name: "fails", Do: func(context.Context) error { <-running; return broken }},
	})
	if err == nil || err.Error() != "broken" {
		t.Errorf("error %v, want broken alone", err)
	}
}

func TestACancelledRunUndoesAndSaysWhy(t *testing.T) {
	var w world
	ctx, cancel := context.WithCancelCause(t.Context())
	asked := errors.New("interrupted")
	_, err := Run(ctx, []Step{w.step("a", nil),
		{Name: "stop", Needs: []string{"a"}, Do: func(context.Context) error { cancel(asked); return nil }}, w.step("never", nil, "stop")})
	if !errors.Is(err, asked) || len(w.things) > 0 {
		t.Errorf("error %v, left %v", err, w.things)
	}
}

func TestUndoGoesOnAfterAnError(t *testing.T) {
	var w world
	stuck := errors.New("stuck")
	bad := Step{Name: "bad", Needs: []string{"a"}, Do: func(context.Context) error { return nil },
		Undo: func(context.Context) error { return stuck }}
	_, err := Run(t.Context(), []Step{w.step("a", nil), bad, w.step("fails", errors.New("broken"), "bad")})
	if !errors.Is(err, stuck) || !strings.Contains(err.Error(), "broken") || len(w.things) > 0 {
		t.Errorf("error %v, left %v", err, w.things)
	}
}

func TestANeedThatIsNotEarlierIsRefused(t *testing.T) {
	var w world
	if _, err := Run(t.Context(), []Step{w.step("a", nil, "b"), w.step("b", nil)}); err == nil {
		t.Error("no error")
	}
}

func TestACancelledRunSaysWhyRatherThanThatItWasCancelled(t *testing.T) {
	why := errors.New("the user changed their mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := Run(ctx, []Step{{Name: "wait", Do: func(ctx context.Context) error { cancel(why); <-ctx.Done(); return ctx.Err() }}})
	if !errors.Is(err, why) || errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
