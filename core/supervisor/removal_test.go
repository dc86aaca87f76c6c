package supervisor

import (
	"errors"
	"slices"
	"testing"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// TestTheEndIsOnRecordWhileAVerbIsAtWorkOnAContainerThatIsToBeRemoved: the supervisor may be killed meanwhile, and the container may be wanted after all.
func TestTheEndIsOnRecordWhileAVerbIsAtWorkOnAContainerThatIsToBeRemoved(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(*rig)
		actions   []string
		kept      bool
	}{
		"and is removed after that":  {func(*rig) {}, []string{"start", "die", "destroy"}, false},
		"and stays if that keeps it": {func(r *rig) { r.s.keep() }, []string{"start", "die"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *store.Container) { c.AutoRemove = true })
			r.serve()
			answer := r.client.AskEnd(r.context())
			if err := r.client.Start(r.context()); err != nil {
				t.Fatal(err)
			}
			held, err := r.store.LockContainer(r.context(), r.id)
			if err != nil {
				t.Fatal(err)
			}
			r.vm.exits(&guestv1.Exit{Code: 3})
			r.await("die")
			if record, err := r.store.Get(r.id); err != nil || record.State != lifecycle.Stopped || record.Exit.Code != 3 {
				t.Errorf("meanwhile, on record is %+v, %v", record, err)
			}
			c.meanwhile(r)
			if err := held.Close(); err != nil {
				t.Fatal(err)
			}
			if exit, err := answer(); err != nil || exit.Code != 3 || exit.Kept != c.kept {
				t.Errorf("it ended with %+v, %v", exit, err)
			}
			if err := r.ended(); err != nil {
				t.Error(err)
			}
			if record, err := r.store.Get(r.id); c.kept && (err != nil || record.State != lifecycle.Stopped) || !c.kept && !errors.Is(err, fault.NotFound) {
				t.Errorf("at last, on record is %+v, %v", record, err)
			}
			if told := r.told(); !slices.Equal(told, c.actions) {
				t.Errorf("told are %q", told)
			}
		})
	}
}
