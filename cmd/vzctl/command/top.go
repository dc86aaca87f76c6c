package command

import (
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/cmd/vzctl/bars"
	"github.com/vzctl/vzctl/core/engine"
)

func newTop(p *program) *cli.Command {
	return &cli.Command{
		Name:        "top",
		Usage:       "list the processes of a running container",
		ArgsUsage:   "CONTAINER [PS-OPTION...]",
		Description: "Their ids are those that the container sees, users have the names of its own passwd. The image needs no ps: of its options aux, -ef and -o COLUMN[=HEAD],... are known, of columns " + psNames() + ". Flags come before CONTAINER.",
		Flags:       []cli.Flag{formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "a container"); err != nil {
				return err
			}
			table := processColumns
			if options := c.Args().Tail(); len(options) > 0 {
				var err error
				if table, err = psColumns(options, p.Now()); err != nil {
					return err
				}
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				processes, err := api.Top(c.Context, c.Args().First())
				if err != nil {
					return err
				}
				return show(c, processes, table)
			})(c)
		},
	}
}

var processColumns = columns[engine.Process]{
	heads: []string{"USER", "PID", "PPID", "STATE", "TTY", "STARTED", "TIME", "MEMORY", "COMMAND"},
	row: func(p engine.Process) []string {
		return []string{userOf(p), strconv.Itoa(p.PID), strconv.Itoa(p.Parent), p.State, terminalOf(p), age(time.Time{}.Add(p.Age), time.Time{}), clock(p.CPU),
			bars.Size(int64(p.MemoryBytes)), p.Command}
	},
}

func userOf(p engine.Process) string {
	if p.User == "" {
		return strconv.FormatUint(uint64(p.UserID), 10)
	}
	return p.User
}

func terminalOf(p engine.Process) string {
	if p.Terminal == "" {
		return "?"
	}
	return p.Terminal
}

// clock is CPU time as ps writes it.
func clock(d time.Duration) string {
	s := int64(d / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d.%02d", s/60, s%60, int64(d/(10*time.Millisecond))%100)
}
