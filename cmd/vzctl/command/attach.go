package command

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newAttach(p *program) *cli.Command {
	return &cli.Command{
		Name:        "attach",
		Usage:       "connect to a running container",
		ArgsUsage:   "CONTAINER",
		Description: "Ends with the container, and its exit code. With a terminal Ctrl-P Ctrl-Q disconnects and leaves the container running; without one, Ctrl-C does with --sig-proxy=false. Closing the terminal disconnects, too.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "no-stdin", Usage: "connect the output only"},
		}, foregroundFlags()...),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1, "a container"); err != nil {
				return err
			}
			return p.withEngine(p.attach)(c)
		},
	}
}

// reattach says how to come back to a container.
func reattach(name string) string {
	return fmt.Sprintf("%s, which goes on; \"vzctl attach %s\" connects again", name, name)
}

func (p *program) attach(c *cli.Context, api engine.API) error {
	container, err := api.Inspect(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	f, err := p.newForeground(c, container.Terminal, !c.Bool("no-stdin"))
	if err != nil {
		return err
	}
	defer f.end()
	if f.proxy {
		f.signals(c.Context, api, container.ID)
	}
	ctx, disconnect := context.WithCancel(c.Context)
	defer disconnect()
	f.onLostOutput(disconnect)
	f.running()
	exit, err := api.Attach(ctx, container.ID, f.streams)
	f.end()
	if f.left(err, reattach(container.Name)) {
		return nil
	}
	if err != nil && f.sink.failure() == nil {
		return err
	}
	return f.ended(exit)
}
