package command

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/vzctl/vzctl/core/engine"
)

// usageWatch looks at containers until they have all ended, or once.
type usageWatch struct {
	watched []engine.Container
	to      io.Writer
	once    bool // nothing is written
	lines   bool // of JSON, otherwise tables
	screen  bool // on which a table takes the place of the one before

	mu      sync.Mutex
	rows    []*usageRow // nil: not known yet, or ended
	errs    []error
	changed chan struct{}
}

// gather is how long a table waits for what is new of other containers.
const gather = 250 * time.Millisecond

func (w *usageWatch) run(ctx context.Context, api engine.API) {
	var all sync.WaitGroup
	for i := range w.watched {
		all.Go(func() { w.errs[i] = w.follow(ctx, api, i) })
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
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
			return
		}
	}
	<-done
}

func (w *usageWatch) draws() bool { return !w.once && !w.lines }

var errEnough = errors.New("it was looked at once")

// follow looks at one container. The first look has no rates yet.
func (w *usageWatch) follow(ctx context.Context, api engine.API, i int) error {
	var before *engine.Stats
	err := api.Stats(ctx, w.watched[i].ID, statsInterval, func(now engine.Stats) error {
		last := before
		before = &now
		if last == nil {
			return nil
		}
		row := usageOf(w.watched[i], *last, now)
		w.set(i, &row)
		if w.once {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	w.set(i, nil)
	if ctx.Err() != nil && !w.once {
		return nil // by who watched
	}
	return err
}

func (w *usageWatch) set(i int, row *usageRow) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows[i] = row
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
	for _, row := range w.rows {
		if row != nil {
			rows = append(rows, *row)
		}
	}
	return rows
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
