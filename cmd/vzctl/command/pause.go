package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newPause(p *program) *cli.Command {
	return &cli.Command{
		Name:      "pause",
		Usage:     "let containers stand still, with all that is in their VMs",
		ArgsUsage: "CONTAINER...",
		Action: p.forEach(func(c *cli.Context, api engine.API, ref string) error {
			return api.Pause(c.Context, ref)
		}),
	}
}

func newUnpause(p *program) *cli.Command {
	return &cli.Command{
		Name:      "unpause",
		Usage:     "let paused containers go on",
		ArgsUsage: "CONTAINER...",
		Action: p.forEach(func(c *cli.Context, api engine.API, ref string) error {
			return api.Unpause(c.Context, ref)
		}),
	}
}

// forEach makes an action of what is done to each container that is named, and prints the names of those to which it was.
func (p *program) forEach(do func(c *cli.Context, api engine.API, ref string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := arguments(c, 1, -1, "a container"); err != nil {
			return err
		}
		return p.withEngine(func(c *cli.Context, api engine.API) error {
			return p.eachRef(c, func(ref string) error {
				if err := do(c, api, ref); err != nil {
					return err
				}
				return printLine(c, ref)
			})
		})(c)
	}
}
