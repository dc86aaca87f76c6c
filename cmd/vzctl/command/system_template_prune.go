package command

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/sdk/fault"
)

func newTemplatePrune(p *program) *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove templates that are damaged, or were not used for some time",
		Flags: []cli.Flag{&cli.DurationFlag{Name: "unused-for", Usage: "keep those that were used within this `DURATION`", Value: 7 * 24 * time.Hour}},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				list, err := api.ListTemplates(c.Context)
				if err != nil {
					return err
				}
				for _, t := range list {
					if !t.Damaged && p.Now().Sub(t.Used) < c.Duration("unused-for") {
						continue
					}
					err := api.RemoveTemplate(c.Context, t.ID)
					if err == nil {
						err = printLine(c, t.ID)
					}
					if err != nil && !errors.Is(err, fault.NotFound) { // somebody else may prune, too
						return err
					}
				}
				return nil
			})(c)
		},
	}
}
