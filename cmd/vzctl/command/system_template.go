package command

import "github.com/urfave/cli/v2"

func newTemplate(p *program) *cli.Command {
	return &cli.Command{
		Name:        "template",
		Usage:       "booted VMs that others are copied from",
		Subcommands: []*cli.Command{newTemplateLs(p), newTemplateRm(p), newTemplatePrune(p), newTemplateWarm(p), newTemplateVerify(p)},
	}
}
