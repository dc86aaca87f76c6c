package command

import (
	_ "embed"
	"fmt"

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
