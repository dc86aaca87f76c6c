package command

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newPluginInspect(p *program) *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "print what plugins say of themselves",
		ArgsUsage: "NAME|PATH...",
		Flags:     []cli.Flag{formatFlag("json")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "a plugin"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				if c.String("format") == "json" {
					return inspectEach(p, c, pluginColumns(), func(ref string) (engine.PluginView, error) {
						return api.InspectPlugin(c.Context, ref)
					})
				}
				return p.eachRef(c, func(ref string) error {
					view, err := api.InspectPlugin(c.Context, ref)
					if err != nil {
						return err
					}
					return pairs(c, pluginPairs(view))
				})
			})(c)
		},
	}
}

func pluginPairs(v engine.PluginView) [][2]string {
	rows := [][2]string{{"name", v.Name}, {"kind", string(v.Kind)}, {"version", v.Version}, {"path", v.Path}, {"default", yes(v.Default)}}
	if v.Error != "" {
		rows = append(rows, [2]string{"problem", oneLine(v.Error)})
	}
	if v.Info == nil {
		return rows
	}
	if v.Info.Description != "" {
		rows = append(rows, [2]string{"description", v.Info.Description})
	}
	rows = append(rows,
		[2]string{"protocol", strings.Trim(fmt.Sprint(v.Info.ProtocolVersions), "[]")},
		[2]string{"platforms", strings.Join(v.Info.Platforms, ", ")})
	for _, key := range slices.Sorted(maps.Keys(v.Info.Capabilities)) {
		rows = append(rows, [2]string{"can " + key, strings.Join(v.Info.Capabilities[key], ", ")})
	}
	return rows
}
