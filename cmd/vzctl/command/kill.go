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
		Action: p.forEach(func(c *cli.Context, api engine.API, ref string) error {
			return api.Kill(c.Context, ref, c.String("signal"))
		}),
	}
}
