package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/sdk/kernel"
)

func newKernelLs(p *program) *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list kernels",
		Flags:   []cli.Flag{formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				kernels, err := api.ListKernels(c.Context)
				if err != nil {
					return err
				}
				return show(c, kernels, columns[kernel.Kernel]{
					heads: []string{"NAME", "VERSION", "ARCH", "FORMAT", "PATH"},
					row:   func(k kernel.Kernel) []string { return []string{k.Name, k.Version, k.Arch, k.Format, k.Path} },
				})
			})(c)
		},
	}
}
