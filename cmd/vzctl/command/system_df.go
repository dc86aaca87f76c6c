package command

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/cmd/vzctl/bars"
	"github.com/vzctl/vzctl/core/engine"
)

func newSystemDf(p *program) *cli.Command {
	return &cli.Command{
		Name:  "df",
		Usage: "print what takes the space on the disk, and how much of it is needed by no container",
		Flags: []cli.Flag{formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				usage, err := api.DiskUsage(c.Context)
				if err != nil {
					return err
				}
				return show(c, usage, columns[engine.DiskUsage]{
					heads: []string{"KIND", "TOTAL", "ACTIVE", "SIZE", "FREEABLE"},
					row: func(u engine.DiskUsage) []string {
						return []string{u.Kind, strconv.Itoa(u.Total), strconv.Itoa(u.Active), bars.Size(u.SizeBytes), bars.Size(u.FreeableBytes)}
					},
				})
			})(c)
		},
	}
}
