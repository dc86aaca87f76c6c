package sandbox

import (
	"errors"
	"slices"
	"testing"
	"time"
)

func TestMaintenanceRunsNothingOfTheContainer(t *testing.T) {
	w := newWorld(t)
	m, err := Maintain(t.Context(), w.spec(), w.environment())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
	// To write out what is in memory takes as long as the host's disk is slow.
	if w.patience < time.Minute {
		t.Errorf("its guest was to write all out within %s", w.patience)
	}
	if want := []string{"plugin", "create vm", "start vm", "dial", "adopt", "create container", "shutdown", "stop vm kill", "delete vm"}; !slices.Equal(w.calls, want) {
		t.Errorf("calls %q; want %q", w.calls, want)
	}
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestMaintenanceThatFailsLeavesNothing(t *testing.T) {
	for _, call := range []string{"plugin", "create vm", "start vm", "dial", "adopt", "create container"} {
		w := newWorld(t)
		broken := errors.New("it is broken")
		w.fail[call] = broken
		if _, err := Maintain(t.Context(), w.spec(), w.environment()); !errors.Is(err, broken) {
			t.Errorf("%s: error %v", call, err)
		}
		if left := w.remains(); len(left) > 0 {
			t.Errorf("%s: left: %q", call, left)
		}
	}
}
