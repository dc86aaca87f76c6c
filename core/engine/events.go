package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/vzctl/vzctl/core/events"
)

// Event is something that happened to a container or an image.
type Event = events.Event

// EventsOptions of Events.
type EventsOptions struct {
	// Since is the time of the first event; zero: only what comes.
	Since time.Time
	// Until is that of the last; zero: follow until ctx ends.
	Until time.Time
	// Filter has the values that are wanted, by key: "type", "event", "container" (a name, or the beginning of an id) and "image". An event passes
	// if each key has a value that fits.
	Filter map[string][]string
}

// EventFilters are the keys that EventsOptions.Filter may have.
func EventFilters() []string { return []string{"container", "event", "image", "type"} }

// Events calls each with what happened, oldest first, and then with what happens. It returns nil at options.Until, otherwise ctx's error or that of each.
func (e *Engine) Events(ctx context.Context, options EventsOptions, each func(Event) error) error {
	log := events.Log{Path: e.store.Paths().Events()}
	pass := func(event Event) error {
		if !options.Until.IsZero() && event.Time.After(options.Until) || !passes(event, options.Filter) {
			return nil
		}
		return each(event)
	}
	if options.Until.IsZero() {
		return log.Follow(ctx, options.Since, pass)
	}
	if !options.Until.After(time.Now()) {
		return log.Read(options.Since, pass)
	}
	until, cancel := context.WithDeadline(ctx, options.Until)
	defer cancel()
	if err := log.Follow(until, options.Since, pass); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return err
	}
	return nil
}

func passes(e Event, filter map[string][]string) bool {
	for key, wanted := range filter {
		fits := func(value string) bool {
			switch key {
			case "type":
				return e.Type == value
			case "event":
				return e.Action == value
			case "container":
				return e.Type == "container" && (e.Name == value || value != "" && strings.HasPrefix(e.ID, value))
			case "image":
				return e.Attributes["image"] == value || e.Type == "image" && (e.Name == value || e.ID == value)
			}
			return false
		}
		if !slices.ContainsFunc(wanted, fits) {
			return false
		}
	}
	return true
}
