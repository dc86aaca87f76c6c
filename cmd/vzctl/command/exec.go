package command

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/cmd/vzctl/terminal"
	"github.com/vzctl/vzctl/core/engine"
)

func newExec(p *program) *cli.Command {
	return &cli.Command{
		Name:        "exec",
		Usage:       "run another process in a running container",
		ArgsUsage:   "CONTAINER COMMAND [ARG...]",
		Description: "Everything behind CONTAINER belongs to the command. Exit codes are those of run.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "connect stdin"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give the process a terminal"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "do not wait for it"},
			&cli.BoolFlag{Name: "privileged", Usage: "grant it all capabilities; the container's filter of system calls and its devices stay"},
			envFlag(), envFileFlag(), workdirFlag(), userFlag(),
			detachKeysFlag(),
		},
		Action: func(c *cli.Context) error {
			request, err := p.execRequest(c)
			if err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error { return p.exec(c, api, request) })(c)
		},
	}
}

func (p *program) execRequest(c *cli.Context) (engine.ExecRequest, error) {
	if err := arguments(c, 1, -1, "a container"); err != nil {
		return engine.ExecRequest{}, err
	}
	if err := arguments(c, 2, -1, "a command"); err != nil {
		return engine.ExecRequest{}, err
	}
	env, err := p.environment(c)
	return engine.ExecRequest{
		Args:       c.Args().Tail(),
		Env:        env,
		WorkingDir: c.String("workdir"),
		User:       c.String("user"),
		Terminal:   c.Bool("tty"),
		Detach:     c.Bool("detach"),
		Privileged: c.Bool("privileged"),
	}, err
}

func (p *program) exec(c *cli.Context, api engine.API, request engine.ExecRequest) error {
	ref := c.Args().First()
	if request.Detach {
		_, err := api.Exec(c.Context, ref, request, engine.Streams{})
		return err
	}
	f, err := p.newForeground(c, request.Terminal, c.Bool("interactive"))
	if err != nil {
		return err
	}
	defer f.end()
	// Giving up the call ends the process.
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	f.onLostOutput(cancel)
	if request.Terminal {
		if fd, ok := terminal.Of(p.Stdout); ok {
			request.Size = terminal.Size(fd)
		}
	}
	f.running()
	exit, err := api.Exec(ctx, ref, request, f.streams)
	f.end()
	if f.left(err, "a process of "+ref+", which goes on") {
		return nil
	}
	if err != nil && f.sink.failure() == nil {
		return err
	}
	return f.ended(exit)
}
