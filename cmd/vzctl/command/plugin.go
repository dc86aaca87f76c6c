package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newPlugin(p *program) *cli.Command {
	return &cli.Command{
		Name:        "plugin",
		Usage:       "plugins that vzctl finds",
		Subcommands: []*cli.Command{newPluginLs(p), newPluginInspect(p), newPluginVerify(p)},
	}
}

func pluginColumns() columns[engine.PluginView] {
	return columns[engine.PluginView]{
		heads: []string{"NAME", "KIND", "VERSION", "DEFAULT", "PATH", "PROBLEM"},
		row: func(v engine.PluginView) []string {
			def := ""
			if v.Default {
				def = "yes"
			}
			return []string{v.Name, string(v.Kind), v.Version, def, v.Path, oneLine(v.Error)}
		},
	}
}
