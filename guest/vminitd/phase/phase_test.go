package phase

import (
	"context"
	"testing"
)

func TestPhasesFollowEachOther(t *testing.T) {
	ctx, watch := Watched(context.Background(), true)
	Done(ctx, "first")
	Done(ctx, "second")
	phases := watch.Phases()
	if len(phases) != 2 || phases[0].Name != "first" || phases[1].Name != "second" {
		t.Fatalf("phases %+v", phases)
	}
	if phases[0].Begin != 0 || phases[1].Begin != phases[0].Duration || phases[1].Duration < 0 {
		t.Errorf("phases %+v", phases)
	}
}

func TestPhasesOfOneCallAreBounded(t *testing.T) {
	ctx, watch := Watched(context.Background(), true)
	for range 2 * Most {
		Done(ctx, "again")
	}
	if n := len(watch.Phases()); n != Most {
		t.Errorf("%d phases", n)
	}
}

func TestACallThatNobodyWatchesIsNotMeasured(t *testing.T) {
	ctx, watch := Watched(context.Background(), false)
	Done(ctx, "nothing")
	if phases := watch.Phases(); phases != nil {
		t.Errorf("phases %+v", phases)
	}
}
