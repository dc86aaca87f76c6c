package command

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newDoctor(p *program) *cli.Command {
	return &cli.Command{
		Name:        "doctor",
		Usage:       "check this host, and say what mends it",
		Description: "Ends with 1 if something is missing that containers need.",
		Flags:       []cli.Flag{formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(doctor)(c)
		},
	}
}

func doctor(c *cli.Context, api engine.API) error {
	checks, err := api.Doctor(c.Context)
	if err != nil {
		return err
	}
	bad := false
	for _, check := range checks {
		bad = bad || !check.OK && !check.Optional
	}
	if c.String("format") == "json" {
		if checks == nil {
			checks = []engine.Check{}
		}
		err = printJSON(c, checks)
	} else {
		err = printChecks(c, checks)
	}
	if err == nil && bad {
		return status(codePart)
	}
	return err
}

func printChecks(c *cli.Context, checks []engine.Check) error {
	for _, check := range checks {
		mark := "ok      "
		switch {
		case !check.OK && check.Optional:
			mark = "optional"
		case !check.OK:
			mark = "MISSING "
		}
		if err := printLine(c, fmt.Sprintf("%s  %-24s %s", mark, printable(check.Name), oneLine(check.Detail))); err != nil {
			return err
		}
		if !check.OK && check.Fix != "" {
			if err := printLine(c, "          mend it with: "+oneLine(check.Fix)); err != nil {
				return err
			}
		}
	}
	return nil
}
