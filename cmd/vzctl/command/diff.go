package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newDiff(p *program) *cli.Command {
	return &cli.Command{
		Name:        "diff",
		Usage:       "list the files that a container has added (A), changed (C) or deleted (D) since its image",
		ArgsUsage:   "CONTAINER",
		Description: "The container may run or not. What is mounted in it is left out.",
		Flags:       []cli.Flag{formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1, "a container"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				changes, err := api.Changes(c.Context, c.Args().First())
				if err != nil {
					return err
				}
				if c.String("format") == "json" {
					return show(c, changes, columns[engine.FileChange]{})
				}
				for _, change := range changes {
					if err := printLine(c, change.Kind+" "+printable(change.Path)); err != nil {
						return err
					}
				}
				return nil
			})(c)
		},
	}
}
