package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newHealthcheck(p *program) *cli.Command {
	return &cli.Command{
		Name:  "healthcheck",
		Usage: "whether containers are healthy",
		Subcommands: []*cli.Command{{
			Name:        "run",
			Usage:       "execute a container's health check now",
			ArgsUsage:   "CONTAINER",
			Description: "Prints what it prints. The exit code is 0 if it succeeds and 1 if not. The result counts as those of other times.",
			Action: func(c *cli.Context) error {
				if err := arguments(c, 1, 1, "a container"); err != nil {
					return err
				}
				return p.withEngine(func(c *cli.Context, api engine.API) error {
					probe, err := api.CheckHealth(c.Context, c.Args().First())
					if err != nil {
						return err
					}
					if _, err := c.App.Writer.Write(probe.Output); err != nil {
						return err
					}
					if probe.ExitCode != 0 {
						return status(codePart)
					}
					return nil
				})(c)
			},
		}},
	}
}
