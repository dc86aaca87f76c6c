package command

import "github.com/urfave/cli/v2"

func restartFlag() cli.Flag {
	return &cli.StringFlag{Name: "restart", Usage: "`WHEN` to start the container again when it has ended: no, on-failure[:TIMES], always or unless-stopped (default: no)"}
}
