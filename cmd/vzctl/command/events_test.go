package command

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/engine"
)

// telling is an engine at which things happen.
type telling struct {
	*fake
	options engine.EventsOptions
	follow  func(ctx context.Context) error // when all has been told
}

func (f *telling) Events(ctx context.Context, options engine.EventsOptions, each func(engine.Event) error) error {
	f.options = options
	for _, e := range []engine.Event{
		{Time: now, Type: "container", Action: "die", ID: "aaaaaaaaaaaaaaaaaaaa", Name: "web", Attributes: map[string]string{"exitCode": "3", "a": "<b>\x1b[2J"}},
		{Time: now.Add(time.Second), Type: "image", Action: "remove"},
	} {
		if err := each(e); err != nil {
			return err
		}
	}
	if f.follow != nil {
		return f.follow(ctx)
	}
	return nil
}

func (f *telling) desk() *desk {
	d := newDesk(f.fake)
	d.Open = func(context.Context, engine.Options) (engine.API, error) { return f, nil }
	return d
}

func TestEventsAreLinesOrJSON(t *testing.T) {
	f := &telling{fake: &fake{}}
	d := f.desk()
	code := d.run(t, "events", "--until", "0s")
	d.wants(t, code, 0, "2026-05-04T12:00:00Z container die aaaaaaaaaaaa (name=web, a=<b>?[2J, exitCode=3)\n2026-05-04T12:00:01Z image remove\n", "")
	d = f.desk()
	d.run(t, "events", "--format", "json")
	lines := strings.Split(strings.TrimSpace(d.stdout.String()), "\n")
	var e engine.Event
	if len(lines) != 2 || json.Unmarshal([]byte(lines[0]), &e) != nil || e.Attributes["exitCode"] != "3" {
		t.Errorf("printed %q", lines)
	}
}

func TestTimesAndFiltersOfEvents(t *testing.T) {
	for line, want := range map[string]engine.EventsOptions{
		"": {},
		"--since 10m --until 2026-05-04T13:00:00Z": {Since: now.Add(-10 * time.Minute), Until: now.Add(time.Hour)},
		"--since 1000.5": {Since: time.Unix(1000, 5e8)},
		"-f event=die -f event=start --filter container=web": {Filter: map[string][]string{"event": {"die", "start"}, "container": {"web"}}},
	} {
		f := &telling{fake: &fake{}}
		if code := f.desk().run(t, append([]string{"events"}, strings.Fields(line)...)...); code != 0 || !reflect.DeepEqual(f.options, want) {
			t.Errorf("%q: %d, %+v", line, code, f.options)
		}
	}
	for _, line := range []string{"--since yesterday", "--until 1e99", "--filter colour=red", "--filter event", "web"} {
		d := newDesk(&fake{})
		if code := d.run(t, append([]string{"events"}, strings.Fields(line)...)...); code != 125 || strings.Count(d.stderr.String(), "\n") != 1 {
			t.Errorf("%q: %d, %s", line, code, d.stderr.String())
		}
	}
}

func TestCtrlCEndsTheEventsWithoutAWord(t *testing.T) {
	f := &telling{fake: &fake{}}
	d := f.desk()
	f.follow = func(ctx context.Context) error {
		d.signals <- syscall.SIGINT
		<-ctx.Done()
		return ctx.Err()
	}
	code := d.run(t, "events")
	if code != 130 || d.stderr.String() != "" {
		t.Errorf("exit code %d, stderr %q", code, d.stderr.String())
	}
	f.follow = func(context.Context) error { return errors.New("the disk is gone") }
	d = f.desk()
	if code := d.run(t, "events"); code != 125 || d.stderr.String() != "vzctl: the disk is gone\n" {
		t.Errorf("exit code %d, stderr %q", code, d.stderr.String())
	}
}
