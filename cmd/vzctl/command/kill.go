package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newKill(p *program) *cli.Command {
	return &cli.Command{
		Name:      "kill",
		Usage:     "send a signal to containers",
		ArgsUsage: "CONTAINER...",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Value: "SIGKILL", Usage: "`NAME` or number"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "a container"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return p.eachRef(c, func(ref string) error {
					if err := api.Kill(c.Context, ref, c.String("signal")); err != nil {
						return err
					}
					return printLine(c, ref)
				})
			})(c)
		},
	}
}
