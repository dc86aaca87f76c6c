package command

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"
)

func newVersion(p *program) *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version",
		Flags: []cli.Flag{formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.printVersion(c, c.String("format"))
		},
	}
}

func (p *program) printVersion(c *cli.Context, format string) error {
	if format == "json" {
		return printJSON(c, struct {
			Version  string `json:"version"`
			Go       string `json:"go"`
			Platform string `json:"platform"`
		}{p.Version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH})
	}
	return printLine(c, fmt.Sprintf("vzctl %s (%s, %s/%s)", p.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH))
}
