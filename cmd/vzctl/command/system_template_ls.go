package command

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/cmd/vzctl/bars"
	"github.com/vzctl/vzctl/core/engine"
)

// templateView is a template as lists show it.
type templateView struct {
	ID          string    `json:"id"`
	Description string    `json:"description"`
	SizeBytes   uint64    `json:"sizeBytes"`
	Made        time.Time `json:"made"`
	Used        time.Time `json:"used"`
	Damaged     bool      `json:"damaged"`
}

func newTemplateLs(p *program) *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list templates, the one that was used last first",
		Flags:   []cli.Flag{quietFlag(), formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				list, err := api.ListTemplates(c.Context)
				if err != nil {
					return err
				}
				views := make([]templateView, 0, len(list))
				for _, t := range list {
					if c.Bool("quiet") {
						if err := printLine(c, t.ID); err != nil {
							return err
						}
					}
					views = append(views, templateView(t))
				}
				if c.Bool("quiet") {
					return nil
				}
				return show(c, views, columns[templateView]{
					heads: []string{"ID", "FOR", "SIZE", "MADE", "USED", "DAMAGED"},
					row: func(t templateView) []string {
						return []string{t.ID, t.Description, bars.Size(int64(t.SizeBytes)), age(p.Now(), t.Made), age(p.Now(), t.Used), yes(t.Damaged)}
					},
				})
			})(c)
		},
	}
}
