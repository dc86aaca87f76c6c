package command

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

//go:embed completion.bash
var bashCompletion string

//go:embed completion.zsh
var zshCompletion string

//go:embed completion.fish
var fishCompletion string

func newCompletion(p *program) *cli.Command {
	return &cli.Command{
		Name:        "completion",
		Usage:       "print the script that completes commands in a shell",
		ArgsUsage:   "bash|zsh|fish",
		Description: "For bash: source <(vzctl completion bash)",
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1, "a shell"); err != nil {
				return err
			}
			script := ""
			switch shell := c.Args().First(); shell {
			case "bash":
				script = bashCompletion
			case "zsh":
				script = zshCompletion
			case "fish":
				script = fishCompletion
			default:
				return usage("completion: no script for %q; use bash, zsh or fish", shell)
			}
			_, err := fmt.Fprint(c.App.Writer, script)
			return err
		},
	}
}

// complete says what may follow a command: its flags, and the names of what it takes.
func (p *program) complete(command *cli.Command) cli.BashCompleteFunc {
	flags := cli.DefaultCompleteWithFlags(command)
	return func(c *cli.Context) {
		flags(c)
		containers := strings.HasPrefix(command.ArgsUsage, "CONTAINER")
		images := strings.HasPrefix(command.ArgsUsage, "IMAGE") && c.NArg() == 0
		if !containers && !images {
			return
		}
		api, done, err := p.open(c)
		if err != nil {
			return // a shell has no use for it
		}
		defer done()
		if containers {
			all, _ := api.List(c.Context)
			for _, container := range all {
				_ = printLine(c, printable(container.Name))
			}
			return
		}
		all, _ := api.ListImages(c.Context)
		for _, image := range all {
			_ = printLine(c, printable(image.Name))
		}
	}
}
