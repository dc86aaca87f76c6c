package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

// verifiedView is a template as its verification shows it.
type verifiedView struct {
	ID          string `json:"id"`
	Description string `json:"description"`
	// Compared with a digest that was taken before; otherwise one was taken now.
	Compared bool `json:"compared"`
	// Damage is empty if nothing is wrong.
	Damage string `json:"damage,omitempty"`
}

func (v verifiedView) result() string {
	switch {
	case v.Damage != "":
		return "damaged and removed: " + v.Damage
	case v.Compared:
		return "as it was"
	default:
		return "digest taken"
	}
}

func newTemplateVerify(p *program) *cli.Command {
	return &cli.Command{
		Name:  "verify",
		Usage: "read all templates, and remove those that are not what they were",
		Description: "Every use of a template looks at what the file system says of its files; this reads them. What is compared with is a digest that was taken some seconds after a template\n" +
			"was made, by warm, or by the first verify. The exit code is 1 if one was damaged; its next container makes it anew.",
		Flags: []cli.Flag{formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				list, err := api.VerifyTemplates(c.Context)
				if err != nil {
					return err
				}
				var failed error
				views := make([]verifiedView, 0, len(list))
				for _, t := range list {
					if t.Damage != "" {
						failed = status(codePart)
					}
					views = append(views, verifiedView{t.ID, t.Description, t.Compared, t.Damage})
				}
				if err := show(c, views, columns[verifiedView]{
					heads: []string{"ID", "FOR", "RESULT"},
					row:   func(v verifiedView) []string { return []string{v.ID, v.Description, v.result()} },
				}); err != nil {
					return err
				}
				return failed
			})(c)
		},
	}
}
