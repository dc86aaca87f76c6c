package command

import (
	"context"
	"errors"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newLogs(p *program) *cli.Command {
	return &cli.Command{
		Name:        "logs",
		Usage:       "print what a container has written",
		ArgsUsage:   "CONTAINER",
		Description: "Shows what is kept of the output: --log-opt of run says how much that is. A TIME without a zone is of the local one. With -f and --until it ends then.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the container stops"},
			&cli.StringFlag{Name: "tail", Aliases: []string{"n"}, Value: "all", Usage: "`NUMBER` of lines from the end"},
			&cli.StringFlag{Name: "since", Usage: "what came from `TIME` on: RFC 3339, seconds since 1970, or how long ago, like 10m"},
			&cli.StringFlag{Name: "until", Usage: "what came up to `TIME`"},
			&cli.BoolFlag{Name: "timestamps", Aliases: []string{"t"}, Usage: "put the time before each line"},
			&cli.BoolFlag{Name: "boot", Usage: "the console of the VM instead"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1, "a container"); err != nil {
				return err
			}
			options := engine.LogOptions{Follow: c.Bool("follow"), Tail: -1, Boot: c.Bool("boot"), Timestamps: c.Bool("timestamps")}
			if err := p.readTimes(c, &options.Since, &options.Until); err != nil {
				return err
			}
			if tail := c.String("tail"); tail != "all" {
				n, err := strconv.ParseUint(tail, 10, 31)
				if err != nil {
					return usage("--tail %q: use a number of lines, or all", tail)
				}
				options.Tail = int(n)
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error { return p.logs(c, api, options) })(c)
		},
	}
}

func (p *program) logs(c *cli.Context, api engine.API, options engine.LogOptions) error {
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	out := &sink{gone: cancel}
	err := api.Logs(ctx, c.Args().First(), options, stream{out, p.Stdout}, stream{out, p.Stderr})
	if lost := out.ended(); lost != nil {
		return lost
	}
	// Ctrl-C is how following ends.
	if s, ok := errors.AsType[signalled](context.Cause(c.Context)); ok && err != nil && options.Follow {
		return status(codeSignal + int(s.signal))
	}
	return err
}
