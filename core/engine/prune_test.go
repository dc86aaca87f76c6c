package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/events"
	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
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
		"half-gone":  func(c *store.Container) { c.State = lifecycle.Removing },
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
	if want := []string{"created", "failed", "half-gone", "restarting", "running", "stopped"}; !slices.Equal(names, want) {
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

func TestPruningImagesWaitsForNobody(t *testing.T) {
	e := newEngine(t)
	if _, err := e.PullImage(t.Context(), "example.com/app:1", "linux/amd64", "", nil); err != nil {
		t.Fatal(err)
	}
	release, err := e.images.Hold(t.Context()) // as a pull does
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if removed, _, err := e.PruneImages(ctx, true); !errors.Is(err, fault.InUse) || len(removed) > 0 {
		t.Errorf("while another is pulled: removed %+v, %v", removed, err)
	}
	if left, err := e.ListImages(t.Context()); err != nil || len(left) != 1 {
		t.Errorf("left are %+v, %v", left, err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if removed, freed, err := e.PruneImages(t.Context(), true); err != nil || len(removed) != 1 || freed == 0 {
		t.Errorf("after that: removed %+v, %d bytes, %v", removed, freed, err)
	}
}

func TestTheRootfsBuilderIsAskedOnceForAllImagesThatArePruned(t *testing.T) {
	e := newEngine(t)
	asked := filepath.Join(t.TempDir(), "calls")
	if err := os.WriteFile(asked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(calls, asked)
	for _, name := range []string{"example.com/app:1", "example.com/app:2"} {
		if _, err := e.PullImage(t.Context(), name, "linux/amd64", "", nil); err != nil {
			t.Fatal(err)
		}
	}
	if removed, _, err := e.PruneImages(t.Context(), true); err != nil || len(removed) != 2 {
		t.Errorf("removed %+v, %v", removed, err)
	}
	if text, err := os.ReadFile(asked); err != nil || string(text) != "list\n" {
		t.Errorf("it was asked for %q, %v", text, err)
	}
}

func TestWhatIsLeftOfARemovedContainerIsToldAfterAllIsDone(t *testing.T) {
	e := newEngine(t)
	c := create(t, e, "web")
	record, err := e.store.Get(c.ID)
	if err != nil {
		t.Fatal(err)
	}
	stuck := errors.New("the disk is broken")
	if err := e.discarded(t.Context(), record, false, func() error { return stuck }); !errors.Is(err, stuck) || !strings.HasPrefix(err.Error(), `remove container "web": `) {
		t.Errorf("error %v", err)
	}
	told := false
	if err := (events.Log{Path: e.store.Paths().Events()}).Read(time.Time{}, func(event events.Event) error {
		told = told || event.Action == "destroy" && event.Name == "web"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !told {
		t.Error("nobody is told that it is gone")
	}
}
