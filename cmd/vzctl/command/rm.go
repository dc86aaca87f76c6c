package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newRm(p *program) *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Aliases:   []string{"delete"},
		Usage:     "remove containers",
		ArgsUsage: "CONTAINER...",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "end them first if they run"},
			&cli.BoolFlag{Name: "volumes", Aliases: []string{"v"}, Usage: "remove their volumes without a name, too"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "a container"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				remove := api.Remove
				if c.Bool("volumes") {
					remove = api.RemoveWithVolumes
				}
				return p.eachRef(c, func(ref string) error {
					if err := remove(c.Context, ref, c.Bool("force")); err != nil {
						return err
					}
					return printLine(c, ref)
				})
			})(c)
		},
	}
}
