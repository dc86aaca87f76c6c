package command

import (
	"math"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newStop(p *program) *cli.Command {
	return &cli.Command{
		Name:      "stop",
		Usage:     "ask containers to end, and end them if they do not",
		ArgsUsage: "CONTAINER...",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "time", Aliases: []string{"t", "timeout"}, Value: 10, Usage: "`SECONDS` until SIGKILL"},
			&cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Usage: "`NAME` or number to ask with (default: the image's, or SIGTERM)"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "a container"); err != nil {
				return err
			}
			options := engine.StopOptions{Signal: c.String("signal")}
			if c.IsSet("time") {
				seconds := c.Int("time")
				if seconds < 0 || seconds > math.MaxInt32 {
					return usage("--time %d: use seconds from 0", seconds)
				}
				timeout := time.Duration(seconds) * time.Second
				options.Timeout = &timeout
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return p.eachRef(c, func(ref string) error {
					if err := api.Stop(c.Context, ref, options); err != nil {
						return err
					}
					return printLine(c, ref)
				})
			})(c)
		},
	}
}
