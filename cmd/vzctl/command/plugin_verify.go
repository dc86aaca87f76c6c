package command

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
)

// Fixtures are what the cases of some kinds need; empty values mean those that vzctl would use itself, and a case without its fixture does not run.
type Fixtures struct {
	Root      string // --root
	Kernel    string
	Initrd    string
	Reference string // of an image
	Platform  string
}

// Case is the outcome of one conformance case.
type Case struct {
	Name string
	// Err is why it failed, NotRun why it was not run; both empty means ok.
	Err    error
	NotRun string
	Took   time.Duration
}

func newPluginVerify(p *program) *cli.Command {
	return &cli.Command{
		Name:        "verify",
		Usage:       "run the conformance suite against a plugin",
		ArgsUsage:   "NAME|PATH",
		Description: "Prints a line for each case of the plugin's kind: ok, FAILED and why, or not run and what it needs.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "kernel", Usage: "`FILE` that VMs boot (default: the kernel containers get)"},
			&cli.StringFlag{Name: "initrd", Usage: "`FILE` with the guest's init (default: the one of this vzctl)"},
			&cli.StringFlag{Name: "reference", Usage: "`IMAGE` that an image source can fetch"},
			platformFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1, "a plugin"); err != nil {
				return err
			}
			return p.verify(c, c.Args().First(), Fixtures{
				Root:      c.String("root"),
				Kernel:    c.String("kernel"),
				Initrd:    c.String("initrd"),
				Reference: c.String("reference"),
				Platform:  c.String("platform"),
			})
		},
	}
}

func (p *program) verify(c *cli.Context, path string, fixtures Fixtures) error {
	ok, failed, notRun := 0, 0, 0
	err := p.Verify(c.Context, path, fixtures, func(result Case) {
		outcome := "ok"
		switch {
		case result.Err != nil:
			failed++
			outcome = "FAILED: " + oneLine(result.Err.Error())
		case result.NotRun != "":
			notRun++
			outcome = "not run: " + oneLine(result.NotRun)
		default:
			ok++
		}
		_, _ = fmt.Fprintf(c.App.Writer, "%-60s %s\n", printable(result.Name), outcome)
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(c.App.Writer, "%d ok, %d failed, %d not run\n", ok, failed, notRun)
	if failed > 0 {
		return status(codePart)
	}
	return nil
}
