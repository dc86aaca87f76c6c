package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newStart(p *program) *cli.Command {
	return &cli.Command{
		Name:      "start",
		Usage:     "start containers",
		ArgsUsage: "CONTAINER...",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "attach", Aliases: []string{"a"}, Usage: "stay in the foreground with its output, and end with its exit code"},
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "connect stdin; implies -a"},
		}, foregroundFlags()...),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "a container"); err != nil {
				return err
			}
			if c.Bool("attach") || c.Bool("interactive") {
				if err := arguments(c, 1, 1, "a container"); err != nil {
					return err
				}
				return p.withEngine(p.startAttached)(c)
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return p.eachRef(c, func(ref string) error {
					if _, err := api.Start(c.Context, ref); err != nil {
						return err
					}
					return printLine(c, ref)
				})
			})(c)
		},
	}
}

func (p *program) startAttached(c *cli.Context, api engine.API) error {
	return p.attached(c, api, api.AttachStart)
}

// attached stays with a container that begin starts, and ends as it does.
func (p *program) attached(c *cli.Context, api engine.API, begin beginning) error {
	container, err := api.Inspect(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	f, err := p.newForeground(c, container.Terminal, c.Bool("interactive"))
	if err != nil {
		return err
	}
	defer f.end()
	exit, _, err := f.attach(c.Context, api, container.ID, begin)
	if f.left(err, reattach(container.Name)) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.ended(exit)
}
