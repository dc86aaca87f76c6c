package command

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

// printTimeline shows a start step by step on stderr, as stdout is the container's.
func (p *program) printTimeline(c *cli.Context, api engine.API, container engine.Container) {
	// More may have been recorded since it began to run.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), 5*time.Second)
	defer cancel()
	if now, err := api.Inspect(ctx, container.ID); err == nil && len(now.Timeline) > len(container.Timeline) {
		container = now
	}
	rows := [][]string{{"STEP", "BEGIN ms", "TOOK ms", "WHERE"}}
	for _, phase := range container.Timeline {
		rows = append(rows, []string{phase.Name, milliseconds(phase.Begin), milliseconds(phase.Duration), phase.Where})
	}
	_ = writeRows(p.Stderr, rows) // a terminal that is gone is no failure of the run
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond))
}
