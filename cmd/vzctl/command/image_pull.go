package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newImagePull(p *program) *cli.Command {
	return &cli.Command{
		Name:      "pull",
		Usage:     "fetch an image",
		ArgsUsage: "IMAGE",
		Flags: []cli.Flag{
			platformFlag(),
			imageSourceFlag(),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1, "an image"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				report, done := p.progress()
				if c.Bool("quiet") {
					report = nil
				}
				image, err := api.PullImage(c.Context, c.Args().First(), c.String("platform"), c.String("image-source"), report)
				done()
				if err != nil {
					return err
				}
				return printLine(c, image.Root.String())
			})(c)
		},
	}
}
