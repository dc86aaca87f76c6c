package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newCheckpoint(p *program) *cli.Command {
	return &cli.Command{
		Name:      "checkpoint",
		Usage:     "save running containers, with what their processes have in memory, and stop them",
		ArgsUsage: "CONTAINER...",
		Description: "What was saved outlives vzctl and the host's uptime; vzctl restore lets the container go on where it was, once. Until then it is not started anew, unless the checkpoint is " +
			"removed. A container has one checkpoint; a new one replaces it. If anything fails the container goes on.\n" +
			"With --leave-running the container goes on after it was saved, and what it had written is saved, too: once it has stopped it can be restored, which puts its files back to " +
			"how they were, or started.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "leave-running", Usage: "let it go on"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "even if it has open network connections, which are lost"},
			&cli.BoolFlag{Name: "remove", Usage: "make none, and remove the one there is"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "a container"); err != nil {
				return err
			}
			if c.Bool("remove") && (c.Bool("leave-running") || c.Bool("force")) {
				return usage("checkpoint: --remove goes with no other flag")
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return p.eachRef(c, func(ref string) error {
					if err := checkpoint(c, api, ref); err != nil {
						return err
					}
					return printLine(c, ref)
				})
			})(c)
		},
	}
}

func checkpoint(c *cli.Context, api engine.API, ref string) error {
	if c.Bool("remove") {
		return api.RemoveCheckpoint(c.Context, ref)
	}
	_, err := api.Checkpoint(c.Context, ref, engine.CheckpointOptions{LeaveRunning: c.Bool("leave-running"), LoseConnections: c.Bool("force")})
	return err
}
