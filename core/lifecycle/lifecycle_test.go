package lifecycle

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/sdk/fault"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s differs from line %d on (-update writes it)\ngot  %q\nwant %q", path, i+1, g[min(i, len(g)-1)], w[min(i, len(w)-1)])
		}
	}
}

func TestEveryPairOfStateAndEvent(t *testing.T) {
	var b strings.Builder
	for _, s := range States() {
		for _, e := range Events() {
			next, err := Next(s, e)
			if err == nil {
				fmt.Fprintf(&b, "%-9s %-8s -> %s\n", s, e, next)
				continue
			}
			if next != s {
				t.Errorf("refused %s in %s, yet it leads to %s", e, s, next)
			}
			refused, ok := errors.AsType[*TransitionError](err)
			if !ok || fault.ReasonOf(err) != fault.FailedPrecondition {
				t.Fatalf("%s in %s: error %T", e, s, err)
			}
			refused.Container = "web"
			fmt.Fprintf(&b, "%-9s %-8s    %v\n", s, e, err)
		}
	}
	golden(t, "testdata/pairs.golden", b.String())
}

func TestDiagramFollowsTheTable(t *testing.T) {
	golden(t, "testdata/diagram.golden", Diagram())
}

func TestTableIsSound(t *testing.T) {
	known := map[State]bool{}
	for _, s := range States() {
		known[s] = true
	}
	pairs := map[string]bool{}
	for _, tr := range transitions {
		pair := string(tr.from) + " " + string(tr.event)
		if pairs[pair] {
			t.Errorf("%s is there twice", pair)
		}
		pairs[pair] = true
		if !known[tr.from] || !known[tr.to] || refusal(tr.event) == "" {
			t.Errorf("%s leads to %s: not all of them are known", pair, tr.to)
		}
	}
}

func TestStopAndRemoveMayBeRepeated(t *testing.T) {
	for _, e := range []Event{Stop, Remove} {
		for _, s := range States() {
			once, err := Next(s, e)
			if err != nil {
				continue
			}
			if _, err := Next(once, e); err != nil {
				t.Errorf("second %s of what was %s: %v", e, s, err)
			}
		}
	}
}

func TestRefusalsReadWell(t *testing.T) {
	tests := []struct {
		state State
		event Event
		want  string
	}{
		{Running, Start, `cannot start container "web": it is running; stop it first`},
		{Running, Remove, `cannot remove container "web": it is running; stop it first`},
		{Created, Exec, `cannot execute in container "web": it is created but not started; start it first`},
		{Paused, Exec, `cannot execute in container "web": it is paused; unpause it first`},
		{Creating, Start, `cannot start container "web": it is being created; wait until it is created`},
		{Stopping, Start, `cannot start container "web": it is stopping; wait until it has stopped`},
		{Starting, Pause, `cannot pause container "web": it is starting; wait until it runs`},
		{Starting, Remove, `cannot remove container "web": it is starting; stop it first`},
		{Running, Made, `cannot finish the creation of container "web": it is running`},
		{Gone, Start, `cannot start container "web": it is gone`},
		{"odd", Start, `cannot start container "web": its state "odd" is unknown`},
	}
	for _, test := range tests {
		err := &TransitionError{Container: "web", State: test.state, Event: test.event}
		if err.Error() != test.want {
			t.Errorf("%s in %s\ngot  %s\nwant %s", test.event, test.state, err, test.want)
		}
	}
}
