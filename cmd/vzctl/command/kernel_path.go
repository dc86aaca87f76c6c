package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newKernelPath(p *program) *cli.Command {
	return &cli.Command{
		Name:      "path",
		Usage:     "print the file of the kernel that a container would get",
		ArgsUsage: "[NAME|PATH]",
		Flags:     []cli.Flag{platformFlag()},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 1, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				report, done := p.progress()
				kernel, err := api.Kernel(c.Context, c.Args().First(), c.String("platform"), report)
				done()
				if err != nil {
					return err
				}
				return printLine(c, kernel.Path)
			})(c)
		},
	}
}
