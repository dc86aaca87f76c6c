package sandbox

import (
	"math"
	"testing"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

func TestTheTimelineHasTheStepsAndWhatTheGuestSaysOfThem(t *testing.T) {
	w := newWorld(t)
	w.phases = []*guestv1.Phase{{Name: "entropy", DurationNanoseconds: math.MaxUint64}, {Name: "adopt"}, {Name: "later", BeginNanoseconds: math.MaxUint64}}
	spec := w.spec()
	spec.Timed = true
	s := New(spec, w.environment())
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	where := map[string]string{}
	var container Phase
	for _, p := range s.Timeline() {
		where[p.Name+" within "+p.Within] = p.Where
		if p.Name == "container" && p.Within == "" {
			container = p
		}
	}
	for name, want := range map[string]string{"hypervisor within ": "host", "container within ": "host", "process within ": "host", "kernel within agent": "guest",
		"vminitd within agent": "guest", "entropy within container": "guest", "adopt within container": "guest", "later within container": ""} {
		if where[name] != want {
			t.Errorf("%q is where %q; want %q", name, where[name], want)
		}
	}
	for _, p := range s.Timeline() {
		if p.Within == "container" && (p.Begin.Before(container.Begin) || p.Begin.Add(p.Duration).After(container.Begin.Add(container.Duration))) {
			t.Errorf("%+v is not within %+v", p, container)
		}
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}
