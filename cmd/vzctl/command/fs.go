package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newFs(p *program) *cli.Command {
	of := func(name, usage, description string, action engine.HoldAction) *cli.Command {
		return &cli.Command{
			Name: name, Usage: usage, ArgsUsage: "CONTAINER...", Description: description,
			Action: func(c *cli.Context) error {
				if err := arguments(c, 1, -1, "a container"); err != nil {
					return err
				}
				return p.withEngine(func(c *cli.Context, api engine.API) error {
					return p.eachRef(c, func(ref string) error {
						if err := api.HoldFiles(c.Context, ref, action); err != nil {
							return err
						}
						return printLine(c, ref)
					})
				})(c)
			},
		}
	}
	return &cli.Command{
		Name:  "fs",
		Usage: "the file system that takes what a running container writes",
		Subcommands: []*cli.Command{
			of("freeze", "write all out, and have writers wait", "Its disk is then consistent, and stays so until vzctl fs thaw. A stop or kill thaws it too, once it comes to SIGKILL.", engine.FreezeFiles),
			of("thaw", "let writers go on", "", engine.ThawFiles),
			of("trim", "give the host blocks back that no file uses, also of a container that does not run", "Those of its volumes, too, if it runs. What it had in files that are gone is free on the host then. One that does not run is trimmed in a VM of its own.", engine.TrimFiles),
		},
	}
}
