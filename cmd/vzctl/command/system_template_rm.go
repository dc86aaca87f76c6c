package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newTemplateRm(p *program) *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Aliases:   []string{"delete"},
		Usage:     "remove templates; VMs that were copied from them go on",
		ArgsUsage: "ID...",
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "a template"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return p.eachRef(c, func(id string) error {
					if err := api.RemoveTemplate(c.Context, id); err != nil {
						return err
					}
					return printLine(c, id)
				})
			})(c)
		},
	}
}
