package sandbox

import (
	"errors"
	"slices"
	"testing"

	"github.com/vzctl/vzctl/sdk/hypervisor"
)

func TestWarmRunsAVMWithoutAContainerAndLeavesNothing(t *testing.T) {
	w := newWorld(t)
	vm, err := Warm(t.Context(), w.spec(), w.environment())
	if err != nil || vm.State != hypervisor.Running {
		t.Errorf("the VM was %+v, %v", vm, err)
	}
	if want := []string{"plugin", "attach", "create vm", "start vm", "stop vm kill", "delete vm", "detach"}; !slices.Equal(w.calls, want) {
		t.Errorf("calls %q; want %q", w.calls, want)
	}
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestWarmThatFailsLeavesNothing(t *testing.T) {
	for _, call := range []string{"plugin", "attach", "create vm", "start vm"} {
		w := newWorld(t)
		broken := errors.New("it is broken")
		w.fail[call] = broken
		if _, err := Warm(t.Context(), w.spec(), w.environment()); !errors.Is(err, broken) {
			t.Errorf("%s: error %v", call, err)
		}
		if left := w.remains(); len(left) > 0 {
			t.Errorf("%s: left: %q", call, left)
		}
	}
}
