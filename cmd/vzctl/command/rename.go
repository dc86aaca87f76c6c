package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newRename(p *program) *cli.Command {
	return &cli.Command{
		Name:      "rename",
		Usage:     "give a container another name",
		ArgsUsage: "CONTAINER NAME",
		Action: func(c *cli.Context) error {
			if err := arguments(c, 2, 2, "a container, or its new name,"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return api.Rename(c.Context, c.Args().First(), c.Args().Get(1))
			})(c)
		},
	}
}
