package command

import (
	"context"
	"testing"

	"github.com/vzctl/vzctl/core/engine"
)

func TestCheckpointAndRestoreAskTheEngine(t *testing.T) {
	for _, test := range []struct {
		args          []string
		calls, stdout string
	}{
		{[]string{"checkpoint", "web", "db"}, "checkpoint web leave=false force=false, checkpoint db leave=false force=false", "web\ndb\n"},
		{[]string{"checkpoint", "--leave-running", "-f", "web"}, "checkpoint web leave=true force=true", "web\n"},
		{[]string{"checkpoint", "--remove", "web"}, "remove checkpoint web", "web\n"},
		{[]string{"restore", "-d", "web"}, "restore web", "web\n"},
	} {
		f := &fake{}
		d := newDesk(f)
		code := d.run(t, test.args...)
		d.wants(t, code, 0, test.stdout, "")
		if f.noted() != test.calls {
			t.Errorf("%v: calls %s; want %s", test.args, f.noted(), test.calls)
		}
	}
}

func TestAContainerThatWasCheckpointedIsNotRemovedAtItsEnd(t *testing.T) {
	f := &fake{run: func(_ context.Context, _ engine.Streams, started func()) (engine.Exit, error) {
		started()
		return engine.Exit{Code: 137, Reason: "checkpointed", Message: "it was checkpointed"}, nil
	}}
	d := newDesk(f)
	code := d.run(t, "run", "--rm", "i")
	d.wants(t, code, 137, "", "vzctl: it was checkpointed\n")
	if f.noted() != "create i, attachstart id1" {
		t.Errorf("calls: %s", f.noted())
	}
}
