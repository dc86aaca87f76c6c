package command

import "github.com/urfave/cli/v2"

func newNetwork(p *program) *cli.Command {
	return &cli.Command{
		Name:        "network",
		Usage:       "networks of containers",
		Subcommands: []*cli.Command{newNetworkLs(p)},
	}
}
