package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newRestart(p *program) *cli.Command {
	return &cli.Command{
		Name:      "restart",
		Usage:     "stop containers that run, and start them",
		ArgsUsage: "CONTAINER...",
		Flags:     stopFlags(),
		Action: func(c *cli.Context) error {
			options, err := stopOptions(c)
			if err != nil {
				return err
			}
			return p.forEach(func(c *cli.Context, api engine.API, ref string) error { return api.Restart(c.Context, ref, options) })(c)
		},
	}
}
