package command

import (
	"github.com/urfave/cli/v2"
)

func newKernel(p *program) *cli.Command {
	return &cli.Command{
		Name:        "kernel",
		Usage:       "kernels for guests",
		Subcommands: []*cli.Command{newKernelLs(p), newKernelPath(p)},
	}
}
