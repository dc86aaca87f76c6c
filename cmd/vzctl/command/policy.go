package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/core/health"
)

func restartFlag() cli.Flag {
	return &cli.StringFlag{Name: "restart", Usage: "`WHEN` to start the container again when it has ended: no, on-failure[:TIMES], always or unless-stopped (default: no)"}
}

// healthFlags are those of run and create that say how a container is asked whether it is healthy.
func healthFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "health-cmd", Usage: "`LINE` for the container's shell that fails if it is not healthy"},
		&cli.DurationFlag{Name: "health-interval", Usage: "`TIME` between two of these, like 30s", DefaultText: "30s"},
		&cli.DurationFlag{Name: "health-timeout", Usage: "`TIME` that one may take", DefaultText: "30s"},
		&cli.IntFlag{Name: "health-retries", Usage: "`NUMBER` of failures in a row that make it unhealthy", DefaultText: "3"},
		&cli.DurationFlag{Name: "health-start-period", Usage: "`TIME` after the start in which failures do not count", DefaultText: "0s"},
		&cli.DurationFlag{Name: "health-start-interval", Usage: "`TIME` between two in that", DefaultText: "5s"},
		&cli.BoolFlag{Name: "no-healthcheck", Usage: "do not ask, whatever the image says"},
	}
}

// readHealth reads healthFlags.
func readHealth(c *cli.Context, request *engine.CreateRequest) error {
	h := health.Shell(c.String("health-cmd"))
	h.Interval, h.Timeout, h.Retries = c.Duration("health-interval"), c.Duration("health-timeout"), c.Int("health-retries")
	h.StartPeriod, h.StartInterval = c.Duration("health-start-period"), c.Duration("health-start-interval")
	request.Health, request.NoHealthcheck = h, c.Bool("no-healthcheck")
	if request.NoHealthcheck && h.Test != nil {
		return usage("give --health-cmd or --no-healthcheck, not both")
	}
	return nil
}
