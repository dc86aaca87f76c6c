package command

import (
	"github.com/urfave/cli/v2"
)

// eachRef calls do for every argument. A failure is said and does not keep the others from their turn.
func (p *program) eachRef(c *cli.Context, do func(ref string) error) error {
	failed := false
	for _, ref := range c.Args().Slice() {
		if err := c.Context.Err(); err != nil {
			return err
		}
		if err := do(ref); err != nil {
			if c.Context.Err() != nil {
				return err
			}
			p.complain(err)
			failed = true
		}
	}
	if failed {
		return status(codePart)
	}
	return nil
}
