package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newRootfsBuild(p *program) *cli.Command {
	return &cli.Command{
		Name:      "build",
		Usage:     "write the root file system of an image to a file",
		ArgsUsage: "IMAGE",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FILE` to write, which must not exist"},
			platformFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1, "an image"); err != nil {
				return err
			}
			file := c.String("output")
			if file == "" {
				return usage("rootfs build: -o FILE is missing")
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				report, done := p.progress()
				err := api.BuildRootfs(c.Context, c.Args().First(), c.String("platform"), file, report)
				done()
				if err != nil {
					return err
				}
				return printLine(c, file)
			})(c)
		},
	}
}
