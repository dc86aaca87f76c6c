package standby

import (
	"context"
	"testing"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/fork"
)

func TestTwoCopiesOfEachOriginalAreLookedAt(t *testing.T) {
	p := newPriming(t)
	other := &fork.Original{}
	f := newForesight()
	foreseen := map[*fork.Original]fork.Pages{}
	f.foresee = func(o *fork.Original, pages fork.Pages) { foreseen[o] = pages }
	original := p.holder.Original
	if !f.wants(original) || f.wants(original) {
		t.Fatal("not one is looked at at a time")
	}
	f.learn(learned{original, nil}, p.primer) // it ended at once
	if len(foreseen) != 0 || !f.wants(original) {
		t.Error("one that ended at once counts")
	}
	f.learn(learned{original, fork.Pages{1, 2, 3}}, p.primer)
	if got := foreseen[original]; len(got) != 3 {
		t.Errorf("after the first %v is foreseen", got)
	}
	if !f.wants(original) {
		t.Error("the second is not looked at")
	}
	f.learn(learned{original, fork.Pages{2, 3, 4}}, p.primer)
	if got := foreseen[original]; len(got) != 2 || got[0] != 2 || f.wants(original) {
		t.Errorf("after the second %v is foreseen, or a third is looked at", got)
	}
	if !f.wants(other) {
		t.Error("another original's is not looked at")
	}
	f.learn(learned{other, fork.Pages{9}}, p.primer) // which is known no more
	if len(foreseen[other]) != 0 || f.known[other] != nil {
		t.Error("an original that is gone is remembered")
	}
}

func TestWhoHasEndedIsNotLookedAt(t *testing.T) {
	f := newForesight()
	f.look(t.Context(), &fork.Original{}, 1<<30) // there is no such process
	if l := <-f.learned; l.pages != nil {
		t.Errorf("%v", l.pages)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.learned <- learned{}
	f.look(ctx, &fork.Original{}, 1<<30) // and nobody listens any more
}
