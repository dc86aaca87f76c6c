package command

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/cmd/vzctl/bars"
	"github.com/vzctl/vzctl/core/engine"
)

func newSystemInfo(p *program) *cli.Command {
	return &cli.Command{
		Name:  "info",
		Usage: "print where things are and how many there are",
		Flags: []cli.Flag{formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				info, err := api.SystemInfo(c.Context)
				if err != nil {
					return err
				}
				if c.String("format") == "json" {
					return printJSON(c, info)
				}
				return pairs(c, systemPairs(info))
			})(c)
		},
	}
}

func systemPairs(i engine.SystemInfo) [][2]string {
	rows := [][2]string{
		{"version", i.Version}, {"root", i.Root}, {"runtime directory", i.RuntimeDir}, {"platform", i.OS + "/" + i.Arch}, {"cpus", strconv.Itoa(i.CPUs)},
		{"images", strconv.Itoa(i.Images)}, {"disk", bars.Size(i.DiskBytes)},
	}
	if i.Checkpoints > 0 {
		rows = append(rows, [2]string{"checkpoints", fmt.Sprintf("%d (%s)", i.Checkpoints, bars.Size(i.CheckpointBytes))})
	}
	for _, state := range slices.Sorted(maps.Keys(i.Containers)) {
		rows = append(rows, [2]string{"containers " + state, fmt.Sprint(i.Containers[state])})
	}
	for _, kind := range slices.Sorted(maps.Keys(i.Plugins)) {
		rows = append(rows, [2]string{kind, i.Plugins[kind]})
	}
	return rows
}
