package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/cmd/vzctl/bars"
	"github.com/vzctl/vzctl/cmd/vzctl/terminal"
	"github.com/vzctl/vzctl/core/engine"
)

// statsInterval is how often what containers use is asked for: rates are over so long a time.
const statsInterval = time.Second

func newStats(p *program) *cli.Command {
	return &cli.Command{
		Name:      "stats",
		Usage:     "show what running containers use",
		ArgsUsage: "[CONTAINER...]",
		Description: "Of those named, every second until they have ended, or of all that run, those that begin meanwhile too, until Ctrl-C. CPU % is of one CPU, so two that are busy are 200 %. HOST MEMORY is what the host gives the whole VM, " +
			"by proportion of what it shares with others; all else is what the container has used in it. As JSON it is one object in a line for each container and second; " +
			"with --no-stream one list.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "no-stream", Usage: "show it once"},
			formatFlag("table"),
		},
		Action: func(c *cli.Context) error {
			return p.withEngine(p.stats)(c)
		},
	}
}

// usageRow is what stats prints of a container as JSON. Every key is always there.
type usageRow struct {
	ID                  string  `json:"id"`
	Name                string  `json:"name"`
	CPUPercent          float64 `json:"cpuPercent"`
	CPUNanoseconds      int64   `json:"cpuNanoseconds"`
	MemoryBytes         uint64  `json:"memoryBytes"`
	MemoryLimitBytes    uint64  `json:"memoryLimitBytes"` // 0: no limit
	MemoryPercent       float64 `json:"memoryPercent"`
	NetworkReceiveBytes uint64  `json:"networkReceiveBytes"`
	NetworkSendBytes    uint64  `json:"networkSendBytes"`
	BlockReadBytes      uint64  `json:"blockReadBytes"`
	BlockWriteBytes     uint64  `json:"blockWriteBytes"`
	Pids                uint64  `json:"pids"`
	PidsLimit           uint64  `json:"pidsLimit"`       // 0: no limit
	HostMemoryBytes     uint64  `json:"hostMemoryBytes"` // 0: not known
}

// usageOf compares two looks at a container.
func usageOf(c engine.Container, before, now engine.Stats) usageRow {
	row := usageRow{ID: c.ID, Name: c.Name, CPUNanoseconds: now.CPU.Nanoseconds(), MemoryBytes: now.MemoryBytes, MemoryLimitBytes: now.MemoryLimitBytes,
		NetworkReceiveBytes: now.NetworkReceiveBytes, NetworkSendBytes: now.NetworkSendBytes, BlockReadBytes: now.BlockReadBytes,
		BlockWriteBytes: now.BlockWriteBytes, Pids: now.Pids, PidsLimit: now.PidsLimit, HostMemoryBytes: now.HostMemoryBytes}
	// Counts of a guest that went back are those of one that was restored, or lies.
	if passed, spent := now.Uptime-before.Uptime, now.CPU-before.CPU; passed > 0 && spent > 0 {
		row.CPUPercent = hundredths(float64(spent) / float64(passed))
	}
	if now.MemoryLimitBytes > 0 {
		row.MemoryPercent = hundredths(float64(now.MemoryBytes) / float64(now.MemoryLimitBytes))
	}
	return row
}

// hundredths of a percent are as exact as it gets.
func hundredths(part float64) float64 { return float64(int64(part*10000+0.5)) / 100 }

var usageColumns = columns[usageRow]{
	heads: []string{"ID", "NAME", "CPU %", "MEMORY / LIMIT", "MEMORY %", "NETWORK IN / OUT", "DISK READ / WRITTEN", "PIDS", "HOST MEMORY"},
	row: func(r usageRow) []string {
		limit, host := "none", "?"
		if r.MemoryLimitBytes > 0 {
			limit = size(r.MemoryLimitBytes)
		}
		if r.HostMemoryBytes > 0 {
			host = size(r.HostMemoryBytes)
		}
		return []string{short(r.ID), r.Name, fmt.Sprintf("%.2f", r.CPUPercent), size(r.MemoryBytes) + " / " + limit, fmt.Sprintf("%.2f", r.MemoryPercent),
			size(r.NetworkReceiveBytes) + " / " + size(r.NetworkSendBytes), size(r.BlockReadBytes) + " / " + size(r.BlockWriteBytes),
			strconv.FormatUint(r.Pids, 10), host}
	},
}

func size(bytes uint64) string { return bars.Size(int64(min(bytes, 1<<62))) }

func (p *program) stats(c *cli.Context, api engine.API) error {
	begun := time.Now() // by the clock of the events
	containers, err := toWatch(c, api)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	out := &sink{gone: cancel}
	w := &usageWatch{to: stream{out, p.Stdout}, once: c.Bool("no-stream"), lines: c.String("format") == "json", changed: make(chan struct{}, 1)}
	_, w.screen = terminal.Of(p.Stdout)
	if w.once || c.Args().Present() {
		begun = time.Time{}
	}
	err = w.run(ctx, api, containers, begun)
	if lost := out.ended(); lost != nil {
		return lost
	}
	if s, ok := errors.AsType[signalled](context.Cause(c.Context)); ok && !w.once {
		return status(codeSignal + int(s.signal)) // Ctrl-C is how watching ends
	}
	if err := errors.Join(err, p.failed(w.failures(), len(containers))); err != nil || !w.once {
		return err
	}
	return show(c, w.present(), usageColumns)
}

// toWatch are the containers named, or all that run.
func toWatch(c *cli.Context, api engine.API) (watched []engine.Container, err error) {
	if !c.Args().Present() {
		all, err := api.List(c.Context)
		return slices.DeleteFunc(slices.Clone(all), func(c engine.Container) bool { return c.State != "running" }), err
	}
	for _, ref := range c.Args().Slice() {
		container, err := api.Inspect(c.Context, ref)
		if err != nil {
			return nil, err
		}
		watched = append(watched, container)
	}
	return watched, nil
}

// failed says what went wrong with some of the containers; of one alone it is the command's own failure.
func (p *program) failed(failures []error, of int) error {
	switch {
	case len(failures) == 0:
		return nil
	case of == 1:
		return failures[0]
	}
	for _, err := range failures {
		p.complain(err)
	}
	return status(codePart)
}
