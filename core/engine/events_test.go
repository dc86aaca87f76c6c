package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// seen returns what Events tells until it ends, as "action name" each.
func seen(t *testing.T, e *Engine, options EventsOptions) string {
	t.Helper()
	var all []string
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := e.Events(ctx, options, func(event Event) error {
		all = append(all, event.Action+" "+event.Name)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return strings.Join(all, ", ")
}

func TestEventsTellWhatHappenedToWhom(t *testing.T) {
	e := newEngine(t)
	begun := time.Now()
	web := create(t, e, "web")
	create(t, e, "db")
	if err := e.Remove(t.Context(), "db", false); err != nil {
		t.Fatal(err)
	}
	image := "example.com/app:1"
	for name, test := range map[string]struct {
		filter map[string][]string
		want   string
	}{
		"all":               {nil, "pull " + image + ", create web, create db, destroy db"},
		"containers":        {map[string][]string{"type": {"container"}}, "create web, create db, destroy db"},
		"one, by name":      {map[string][]string{"container": {"db"}}, "create db, destroy db"},
		"one, by its id":    {map[string][]string{"container": {web.ID[:12]}}, "create web"},
		"two":               {map[string][]string{"container": {"db", "web"}, "event": {"create"}}, "create web, create db"},
		"of an image":       {map[string][]string{"image": {image}, "event": {"destroy", "pull"}}, "pull " + image + ", destroy db"},
		"nothing":           {map[string][]string{"container": {"nobody"}}, ""},
		"an unknown filter": {map[string][]string{"colour": {"red"}}, ""},
	} {
		if got := seen(t, e, EventsOptions{Since: begun, Until: time.Now(), Filter: test.filter}); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if got := seen(t, e, EventsOptions{Since: begun, Until: begun}); got != "" {
		t.Errorf("until before the first: %q", got)
	}
	if got := seen(t, e, EventsOptions{Since: begun, Until: time.Now().Add(100 * time.Millisecond), Filter: map[string][]string{"event": {"destroy"}}}); got != "destroy db" {
		t.Errorf("until a moment from now: %q", got)
	}
}

func TestEventsAreFollowedUntilTheCallerHasEnough(t *testing.T) {
	e := newEngine(t)
	enough := errors.New("enough")
	begun := time.Now()
	done := make(chan error, 1)
	go func() {
		done <- e.Events(t.Context(), EventsOptions{Since: begun}, func(event Event) error {
			if event.Action == "destroy" {
				return enough
			}
			return nil
		})
	}()
	create(t, e, "web")
	if err := e.Remove(t.Context(), "web", false); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, enough) {
		t.Error(err)
	}
}
