package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newImageInspect(p *program) *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "print all that is known of images",
		ArgsUsage: "IMAGE...",
		Flags:     []cli.Flag{platformFlag(), formatFlag("json")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "an image"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return inspectEach(p, c, p.imageColumns(), func(ref string) (engine.Image, error) {
					return api.InspectImage(c.Context, ref, c.String("platform"))
				})
			})(c)
		},
	}
}
