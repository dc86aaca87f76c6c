package command

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newAutostart(p *program) *cli.Command {
	return &cli.Command{
		Name:        "autostart",
		Usage:       "start the containers whose restart policies say that they run after boot",
		Description: "Prints the names of those it has started. The service that \"vzctl system service install\" makes runs it at boot.",
		Action:      p.autoAction(engine.API.Autostart),
	}
}

func newAutostop(p *program) *cli.Command {
	return &cli.Command{
		Name:        "autostop",
		Usage:       "stop all containers, without telling their restart policies",
		Description: "Prints the names of those it has stopped. For the end of the host: autostart starts those that should run again.",
		Action:      p.autoAction(engine.API.Autostop),
	}
}

func (p *program) autoAction(do func(api engine.API, ctx context.Context, each func(name string, err error)) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := arguments(c, 0, 0, ""); err != nil {
			return err
		}
		return p.withEngine(func(c *cli.Context, api engine.API) error {
			failed := false
			err := do(api, c.Context, func(name string, err error) {
				if err != nil {
					failed = true
					p.complain(fmt.Errorf("%s: %w", name, err))
					return
				}
				_ = printLine(c, name) // which p.printed notices
			})
			if failed && c.Context.Err() == nil {
				return status(codePart)
			}
			return err
		})(c)
	}
}
