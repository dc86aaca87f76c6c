package command

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newAttach(p *program) *cli.Command {
	return &cli.Command{
		Name:        "attach",
		Usage:       "connect to a running container",
		ArgsUsage:   "CONTAINER",
		Description: "Ends with the container, and its exit code. With --sig-proxy=false Ctrl-C disconnects and leaves the container running, as closing the terminal does.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "no-stdin", Usage: "connect the output only"},
			&cli.BoolFlag{Name: "sig-proxy", Value: true, Usage: "hand signals on to the process"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1, "a container"); err != nil {
				return err
			}
			return p.withEngine(p.attach)(c)
		},
	}
}

func (p *program) attach(c *cli.Context, api engine.API) error {
	container, err := api.Inspect(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	f, err := p.newForeground(container.Terminal, !c.Bool("no-stdin"))
	if err != nil {
		return err
	}
	defer f.end()
	if c.Bool("sig-proxy") {
		f.signals(c.Context, api, container.ID)
	}
	ctx, disconnect := context.WithCancel(c.Context)
	defer disconnect()
	f.onLostOutput(disconnect)
	f.running()
	exit, err := api.Attach(ctx, container.ID, f.streams)
	f.end()
	if err != nil && f.sink.failure() == nil {
		return err
	}
	return f.ended(exit)
}
