package command

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newLs(p *program) *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"ps", "list"},
		Usage:   "list containers that run",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "those that do not run, too"},
			quietFlag(),
			&cli.BoolFlag{Name: "no-trunc", Usage: "whole ids"},
			formatFlag("table"),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(p.ls)(c)
		},
	}
}

// containerRow is what ls prints of a container as JSON. Every key is always there.
type containerRow struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Image    string `json:"image"`
	State    string `json:"state"`
	ExitCode *int   `json:"exitCode"`
	Reason   string `json:"reason"`
	Health   string `json:"health"` // empty: it runs not, or has no check
	// Unresponsive says that its guest does not answer.
	Unresponsive bool           `json:"unresponsive"`
	PID          int            `json:"pid"`
	Addresses    []netip.Prefix `json:"addresses"`
	Created      time.Time      `json:"created"`
}

func (p *program) ls(c *cli.Context, api engine.API) error {
	containers, err := api.List(c.Context)
	if err != nil {
		return err
	}
	containers = slices.Clone(containers)
	if !c.Bool("all") {
		containers = slices.DeleteFunc(containers, func(c engine.Container) bool { return !alive(c) })
	}
	slices.SortStableFunc(containers, func(a, b engine.Container) int { return b.Created.Compare(a.Created) })
	if c.Bool("quiet") {
		for _, container := range containers {
			if err := printLine(c, container.ID); err != nil {
				return err
			}
		}
		return nil
	}
	if c.String("format") == "json" {
		rows := []containerRow{}
		for _, container := range containers {
			rows = append(rows, row(container))
		}
		return printJSON(c, rows)
	}
	return printTable(c, containers, p.containerColumns(c.Bool("no-trunc")))
}

// alive containers have a VM.
func alive(c engine.Container) bool {
	return slices.Contains([]string{"starting", "running", "paused", "stopping", "restarting"}, c.State)
}

func row(c engine.Container) containerRow {
	r := containerRow{
		ID: c.ID, Name: c.Name, Image: c.Image, State: c.State, ExitCode: c.ExitCode, Reason: c.Reason, PID: c.PID,
		Addresses: c.Addresses, Created: c.Created,
	}
	r.Health, r.Unresponsive = healthOf(c), c.Unresponsive != nil
	if r.Addresses == nil {
		r.Addresses = []netip.Prefix{}
	}
	return r
}

func (p *program) containerColumns(whole bool) columns[engine.Container] {
	return columns[engine.Container]{
		heads: []string{"ID", "NAME", "IMAGE", "COMMAND", "CREATED", "STATE", "ADDRESS"},
		row: func(c engine.Container) []string {
			id := c.ID
			if !whole {
				id = short(id)
			}
			var addresses []string
			for _, a := range c.Addresses {
				addresses = append(addresses, a.Addr().String())
			}
			return []string{id, c.Name, c.Image, command(c.Args), age(p.Now(), c.Created), state(c), strings.Join(addresses, ", ")}
		},
	}
}

// state with its exit code, as that is what people look for.
func state(c engine.Container) string {
	text := c.State
	if c.ExitCode != nil {
		text += fmt.Sprintf(" (%d)", *c.ExitCode)
	}
	// How it ended is no news if it went by a checkpoint that is gone: it can be started, and not be restored.
	restorable := c.Reason != "checkpointed" || c.Checkpoint != nil
	if c.Reason != "" && c.Reason != "exited" && !alive(c) && restorable {
		text += " " + c.Reason
	}
	switch health := healthOf(c); {
	case c.Unresponsive != nil: // which says more
		text += " (unresponsive)"
	case health != "":
		text += " (" + health + ")"
	}
	return text
}

// healthOf a container that runs.
func healthOf(c engine.Container) string {
	if c.Health == nil || c.State != "running" {
		return ""
	}
	return string(c.Health.Status)
}

func command(args []string) string {
	text := []rune(strings.Join(args, " "))
	if len(text) > 30 {
		text = append(text[:29], '…')
	}
	return string(text)
}
