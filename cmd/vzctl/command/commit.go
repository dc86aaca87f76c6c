package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newCommit(p *program) *cli.Command {
	return &cli.Command{
		Name:      "commit",
		Usage:     "make an image of what a container has changed",
		ArgsUsage: "CONTAINER IMAGE",
		Description: "The image is that of the container, with one more layer. Its configuration stays, but for what --change says: what run was told beside it, the environment for one, may be secret. " +
			"A container that runs goes on; it does not write while the layer is read.",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "change", Aliases: []string{"c"}, Usage: "`INSTRUCTION` as in a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR"},
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "`TEXT` of the layer's history"},
			&cli.StringFlag{Name: "author", Aliases: []string{"a"}, Usage: "`NAME` of who made it"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 2, 2, "a container or an image"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				report, done := p.progress()
				if c.Bool("quiet") {
					report = nil
				}
				image, warnings, err := api.Commit(c.Context, c.Args().First(), engine.CommitRequest{Reference: c.Args().Get(1), Message: c.String("message"),
					Author: c.String("author"), Changes: c.StringSlice("change")}, report)
				done()
				if err := p.leftOut(warnings, err); err != nil {
					return err
				}
				return printLine(c, image.ID.String())
			})(c)
		},
	}
}
