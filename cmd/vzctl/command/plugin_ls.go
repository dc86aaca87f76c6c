package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newPluginLs(p *program) *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list plugins",
		Flags:   []cli.Flag{formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				plugins, err := api.ListPlugins(c.Context)
				if err != nil {
					return err
				}
				if c.String("format") == "json" {
					return printJSON(c, pluginRows(plugins))
				}
				return show(c, plugins, pluginColumns())
			})(c)
		},
	}
}

// pluginRow has its keys even of a plugin that cannot say what it is.
type pluginRow struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Version string `json:"version"`
	Path    string `json:"path"`
	Default bool   `json:"default"`
	Error   string `json:"error,omitempty"`
}

func pluginRows(plugins []engine.PluginView) []pluginRow {
	rows := []pluginRow{}
	for _, v := range plugins {
		rows = append(rows, pluginRow{v.Name, string(v.Kind), v.Version, v.Path, v.Default, v.Error})
	}
	return rows
}
