package command

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newWait(p *program) *cli.Command {
	return &cli.Command{
		Name:      "wait",
		Usage:     "wait until containers have stopped, and print their exit codes",
		ArgsUsage: "CONTAINER...",
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "a container"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return p.eachRef(c, func(ref string) error {
					exit, err := api.Wait(c.Context, ref)
					if err != nil {
						return err
					}
					return printLine(c, strconv.Itoa(exit.Code))
				})
			})(c)
		},
	}
}
