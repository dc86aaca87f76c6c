package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newEvents(p *program) *cli.Command {
	return &cli.Command{
		Name:  "events",
		Usage: "print what happens to containers and images",
		Description: "Goes on until Ctrl-C, or --until. With --since it begins with what has happened; the log keeps the newest 8 MiB of that.\n" +
			"Times are like 2026-05-04T12:00:00Z, seconds since 1970, or 10m for ten minutes ago.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "since", Usage: "`TIME` of the first event"},
			&cli.StringFlag{Name: "until", Usage: "`TIME` of the last event"},
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"},
				Usage: "`KEY=VALUE` that events must have: container, event, image or type; may be repeated, and one of several values of a key is enough"},
			formatFlag("table"),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			options, err := p.eventsOptions(c)
			if err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error { return p.events(c, api, options) })(c)
		},
	}
}

func (p *program) eventsOptions(c *cli.Context) (o engine.EventsOptions, err error) {
	if err := p.readTimes(c, &o.Since, &o.Until); err != nil {
		return o, err
	}
	for _, entry := range c.StringSlice("filter") {
		key, value, ok := strings.Cut(entry, "=")
		if !ok || !slices.Contains(engine.EventFilters(), key) {
			return o, usage("--filter %q: write KEY=VALUE, with a key of %s", entry, strings.Join(engine.EventFilters(), ", "))
		}
		if o.Filter == nil {
			o.Filter = map[string][]string{}
		}
		o.Filter[key] = append(o.Filter[key], value)
	}
	return o, nil
}

func (p *program) events(c *cli.Context, api engine.API, options engine.EventsOptions) error {
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	out := &sink{gone: cancel}
	to := stream{out, p.Stdout}
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	err := api.Events(ctx, options, func(e engine.Event) error {
		if c.String("format") == "json" {
			return encoder.Encode(e)
		}
		_, err := io.WriteString(to, printable(eventLine(e))+"\n")
		return err
	})
	if lost := out.ended(); lost != nil {
		return lost
	}
	// Ctrl-C is how following ends.
	if s, ok := errors.AsType[signalled](context.Cause(c.Context)); ok && err != nil {
		return status(codeSignal + int(s.signal))
	}
	return err
}

func eventLine(e engine.Event) string {
	var more []string
	if e.Name != "" {
		more = append(more, "name="+e.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(e.Attributes)) {
		more = append(more, key+"="+e.Attributes[key])
	}
	line := strings.Join([]string{e.Time.Format(time.RFC3339Nano), e.Type, e.Action, short(e.ID)}, " ")
	if more == nil {
		return strings.TrimSpace(line)
	}
	return fmt.Sprintf("%s (%s)", line, strings.Join(more, ", "))
}
