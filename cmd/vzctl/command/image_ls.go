package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newImageLs(p *program) *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list images",
		Flags:   []cli.Flag{quietFlag(), formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				images, err := api.ListImages(c.Context)
				if err != nil {
					return err
				}
				if !c.Bool("quiet") {
					return show(c, images, p.imageColumns())
				}
				for _, image := range images {
					if err := printLine(c, image.ID.String()); err != nil {
						return err
					}
				}
				return nil
			})(c)
		},
	}
}
