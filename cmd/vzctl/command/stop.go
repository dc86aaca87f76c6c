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
		Flags:     stopFlags(),
		Action: func(c *cli.Context) error {
			options, err := stopOptions(c)
			if err != nil {
				return err
			}
			return p.forEach(func(c *cli.Context, api engine.API, ref string) error { return api.Stop(c.Context, ref, options) })(c)
		},
	}
}

// stopFlags are those of stop and restart.
func stopFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "time", Aliases: []string{"t", "timeout"}, Usage: "`SECONDS` until SIGKILL", DefaultText: "the container's, or 10"},
		&cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Usage: "`NAME` or number to ask with (default: the container's, or SIGTERM)"},
	}
}

// stopOptions reads stopFlags.
func stopOptions(c *cli.Context) (engine.StopOptions, error) {
	options := engine.StopOptions{Signal: c.String("signal")}
	seconds, err := readSeconds(c, "time")
	if seconds != nil {
		timeout := time.Duration(*seconds) * time.Second
		options.Timeout = &timeout
	}
	return options, err
}

// readSeconds returns the value of a flag, nil if it is not given.
func readSeconds(c *cli.Context, flag string) (*int, error) {
	if !c.IsSet(flag) {
		return nil, nil
	}
	seconds := c.Int(flag)
	if seconds < 0 || seconds > math.MaxInt32 {
		return nil, usage("--%s %d: use seconds from 0", flag, seconds)
	}
	return &seconds, nil
}
