package command

import "github.com/urfave/cli/v2"

func newSystem(p *program) *cli.Command {
	return &cli.Command{
		Name:        "system",
		Usage:       "this installation",
		Subcommands: []*cli.Command{newSystemInfo(p), newSystemDf(p), newTemplate(p), newService(p), newAutostart(p), newAutostop(p)},
	}
}
