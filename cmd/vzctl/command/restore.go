package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newRestore(p *program) *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "let a container go on from its checkpoint",
		ArgsUsage: "CONTAINER",
		Description: "Its processes go on where they were, with their memory, open files and ids, and the same addresses. The checkpoint is used up. In the foreground it is as with run: " +
			"output from now on is shown, signals go to the process, and the exit code is its own; -i connects stdin.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "print the name and leave the container running"},
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "connect stdin"},
		}, foregroundFlags()...),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1, "a container"); err != nil {
				return err
			}
			if c.Bool("detach") {
				return p.withEngine(func(c *cli.Context, api engine.API) error {
					if _, err := api.Restore(c.Context, c.Args().First()); err != nil {
						return err
					}
					return printLine(c, c.Args().First())
				})(c)
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return p.attached(c, api, api.AttachRestore)
			})(c)
		},
	}
}
