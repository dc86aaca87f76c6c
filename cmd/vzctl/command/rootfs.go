package command

import "github.com/urfave/cli/v2"

func newRootfs(p *program) *cli.Command {
	return &cli.Command{
		Name:        "rootfs",
		Usage:       "root file systems",
		Subcommands: []*cli.Command{newRootfsBuild(p)},
	}
}
