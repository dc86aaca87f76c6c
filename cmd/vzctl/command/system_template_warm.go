package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newTemplateWarm(p *program) *cli.Command {
	return &cli.Command{
		Name:  "warm",
		Usage: "make a template ahead of the first start, and print its id",
		Description: "Flags say which containers it is for, as those of run do; without any it is for those that run makes without flags. The first such container then starts as fast as\n" +
			"all others. One that is there already is left as it is. It is on the disk afterwards, and lasts until QEMU, the kernel or vzctl changes.",
		Flags: shapeFlags(),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			var request engine.CreateRequest
			if err := readShape(c, &request); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				report, done := p.progress()
				made, err := api.WarmTemplate(c.Context, request, report)
				done()
				if err != nil {
					return err
				}
				return printLine(c, made.ID)
			})(c)
		},
	}
}
