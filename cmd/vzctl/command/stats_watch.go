package command

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/vzctl/vzctl/core/engine"
)

// usageWatch looks at containers until they have all ended, or once.
type usageWatch struct {
	to     io.Writer
	once   bool // nothing is written
	lines  bool // of JSON, otherwise tables
	screen bool // on which a table takes the place of the one before

	all     sync.WaitGroup // who look
	changed chan struct{}
	mu      sync.Mutex
	watched []*watched
}

// watched is a container that is looked at.
type watched struct {
	container engine.Container
	going     bool
	row       *usageRow // nil: not known yet, or ended
	err       error
}

// gather is how long a table waits for what is new of other containers.
const gather = 250 * time.Millisecond

// run looks at containers, and at those that begin to run after since, unless that is zero.
func (w *usageWatch) run(ctx context.Context, api engine.API, containers []engine.Container, since time.Time) (err error) {
	for _, c := range containers {
		w.watch(ctx, api, c)
	}
	if !since.IsZero() {
		w.all.Go(func() { err = w.welcome(ctx, api, since) })
	}
	done := make(chan struct{})
	go func() { w.all.Wait(); close(done) }()
	for w.draws() {
		select {
		case <-w.changed:
			select {
			case <-time.After(gather):
				w.draw()
			case <-done:
			}
		case <-done:
			w.draw()
			return err
		}
	}
	<-done
	return err
}

// welcome looks at containers that begin to run.
func (w *usageWatch) welcome(ctx context.Context, api engine.API, since time.Time) error {
	begins := map[string][]string{"type": {"container"}, "event": {"start", "restore", "unpause"}}
	err := api.Events(ctx, engine.EventsOptions{Since: since, Filter: begins}, func(e engine.Event) error {
		if c, err := api.Inspect(ctx, e.ID); err == nil && c.State == "running" { // it may have ended, and be gone
			w.watch(ctx, api, c)
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil // by who watched
	}
	return err
}

// watch begins to look at a container, unless somebody does.
func (w *usageWatch) watch(ctx context.Context, api engine.API, c engine.Container) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.watched, func(other *watched) bool { return other.container.ID == c.ID })
	if i < 0 {
		i = len(w.watched)
		w.watched = append(w.watched, &watched{container: c})
	}
	of := w.watched[i]
	if of.going {
		return
	}
	of.going = true
	w.all.Go(func() {
		err := w.follow(ctx, api, of)
		w.mu.Lock()
		defer w.mu.Unlock()
		of.going, of.err = false, err
	})
}

func (w *usageWatch) draws() bool { return !w.once && !w.lines }

var errEnough = errors.New("it was looked at once")

// follow looks at one container. The first look has no rates yet.
func (w *usageWatch) follow(ctx context.Context, api engine.API, of *watched) error {
	var before *engine.Stats
	err := api.Stats(ctx, of.container.ID, statsInterval, func(now engine.Stats) error {
		last := before
		before = &now
		if last == nil {
			return nil
		}
		row := usageOf(of.container, *last, now)
		w.set(of, &row)
		if w.once {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	w.set(of, nil)
	if ctx.Err() != nil && !w.once {
		return nil // by who watched
	}
	return err
}

func (w *usageWatch) set(of *watched, row *usageRow) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of.row = row
	if w.lines && !w.once && row != nil {
		encoder := json.NewEncoder(w.to)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(row) // what is lost ends the command
	}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// present are the rows of containers that run.
func (w *usageWatch) present() []usageRow {
	w.mu.Lock()
	defer w.mu.Unlock()
	rows := []usageRow{}
	for _, of := range w.watched {
		if of.row != nil {
			rows = append(rows, *of.row)
		}
	}
	return rows
}

// failures of those that were looked at.
func (w *usageWatch) failures() (errs []error) {
	for _, of := range w.watched {
		if of.err != nil {
			errs = append(errs, of.err)
		}
	}
	return errs
}

// draw writes a table.
func (w *usageWatch) draw() {
	rows := [][]string{usageColumns.heads}
	for _, row := range w.present() {
		rows = append(rows, usageColumns.row(row))
	}
	if w.screen {
		_, _ = io.WriteString(w.to, "\x1b[H\x1b[J") // what is lost ends the command
	}
	_ = writeRows(w.to, rows)
}
