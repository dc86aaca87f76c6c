package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
)

func TestWhatHasEndedIsPrunedAndNothingElse(t *testing.T) {
	e := newEngine(t)
	stopped := func(c *store.Container) {
		c.State, c.Run, c.Exit = lifecycle.Stopped, &store.Run{Asked: time.Now()}, &store.Exit{Reason: lifecycle.ReasonExited}
	}
	for name, change := range map[string]func(*store.Container){
		"created":    func(*store.Container) {},
		"stopped":    stopped,
		"failed":     func(c *store.Container) { c.State = lifecycle.Failed },
		"running":    func(c *store.Container) { c.State = lifecycle.Running },
		"restarting": func(c *store.Container) { c.State = lifecycle.Restarting },
		"saved":      func(c *store.Container) { stopped(c); c.Checkpoint = &store.Checkpoint{} },
		"next-boot": func(c *store.Container) {
			stopped(c)
			c.Exit.Reason, c.Restart.Policy, c.Desired = lifecycle.ReasonLost, "always", store.DesiredRunning
		},
	} {
		c := create(t, e, name)
		if c.State == "" {
			t.Fatal("it has no state")
		}
		_, err := e.store.Update(t.Context(), c.ID, func(c *store.Container) error { change(c); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	// No supervisor lives, so one that is on record as running is lost, and has ended.
	removed, err := e.PruneContainers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range removed {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	if want := []string{"created", "failed", "restarting", "running", "stopped"}; !slices.Equal(names, want) {
		t.Errorf("removed %v, want %v", names, want)
	}
	left, err := e.List(t.Context())
	if err != nil || len(left) != 2 {
		t.Errorf("left are %+v, %v", left, err)
	}
	if again, err := e.PruneContainers(t.Context()); err != nil || len(again) > 0 {
		t.Errorf("pruned again %+v, %v", again, err)
	}
}

func TestImagesThatNoContainerHasArePruned(t *testing.T) {
	e := newEngine(t)
	create(t, e, "web")
	if removed, _, err := e.PruneImages(t.Context(), true); err != nil || len(removed) > 0 {
		t.Errorf("one that a container has: %+v, %v", removed, err)
	}
	if err := e.Remove(t.Context(), "web", false); err != nil {
		t.Fatal(err)
	}
	if removed, _, err := e.PruneImages(t.Context(), false); err != nil || len(removed) > 0 {
		t.Errorf("not all: %+v, %v", removed, err)
	}
	removed, freed, err := e.PruneImages(t.Context(), true)
	if err != nil || len(removed) != 1 || freed == 0 {
		t.Errorf("removed %+v, %d bytes, %v", removed, freed, err)
	}
	if left, err := e.ListImages(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left are %+v, %v", left, err)
	}
}
