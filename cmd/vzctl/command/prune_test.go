package command

import (
	"context"
	"testing"

	"github.com/vzctl/vzctl/core/engine"
)

func (f *fake) PruneContainers(context.Context) ([]engine.Container, error) {
	f.note("prune")
	return f.containers, nil
}

func (f *fake) PruneImages(_ context.Context, all bool) ([]engine.Image, int64, error) {
	f.note("prune images all=%v", all)
	return f.images, 1, nil
}

func TestPruneSaysWhatIsGone(t *testing.T) {
	for _, test := range []struct {
		args                  []string
		calls, stdout, stderr string
	}{
		{[]string{"prune"}, "prune", "web\ndb\n", ""},
		{[]string{"image", "prune"}, "prune images all=false", "app:1\n", "vzctl: freed 1 B\n"},
		{[]string{"image", "prune", "-a"}, "prune images all=true", "app:1\n", "vzctl: freed 1 B\n"},
	} {
		f := &fake{containers: []engine.Container{{Name: "web"}, {Name: "db"}}, images: []engine.Image{{Name: "app:1"}}}
		d := newDesk(f)
		d.wants(t, d.run(t, test.args...), 0, test.stdout, test.stderr)
		if f.noted() != test.calls {
			t.Errorf("calls %s; want %s", f.noted(), test.calls)
		}
	}
	if code := newDesk(&fake{}).run(t, "prune", "web"); code != 125 {
		t.Errorf("with a name it ends with %d", code)
	}
}
