package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newCreate(p *program) *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "create a container without starting it, and print its id",
		ArgsUsage: "IMAGE [COMMAND [ARG...]]",
		Flags:     createFlags(),
		Action: func(c *cli.Context) error {
			request, err := p.createRequest(c)
			if err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				container, err := p.create(c, api, request)
				if err != nil {
					return err
				}
				return printLine(c, container.ID)
			})(c)
		},
	}
}
