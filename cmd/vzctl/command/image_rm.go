package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newImageRm(p *program) *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Aliases:   []string{"delete"},
		Usage:     "remove images",
		ArgsUsage: "IMAGE...",
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "an image"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return p.eachRef(c, func(ref string) error {
					if _, err := api.RemoveImage(c.Context, ref); err != nil {
						return err
					}
					return printLine(c, ref)
				})
			})(c)
		},
	}
}
