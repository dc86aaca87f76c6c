package command

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/cmd/vzctl/terminal"
	"github.com/vzctl/vzctl/core/engine"
)

func newCp(p *program) *cli.Command {
	return &cli.Command{
		Name:      "cp",
		Usage:     "copy files between a container and the host",
		ArgsUsage: "CONTAINER:PATH PATH|-  |  PATH|- CONTAINER:PATH",
		Description: "Containers may run or not. The rules are those of docker cp: into a directory that is there a file or directory goes under its own name, with /. behind it only what is in it; otherwise " +
			"it gets the name that is given. \"-\" is a tar, to stdout or from stdin. A path of the host that has a colon begins with ./ or /.\n" +
			"Modes, times, holes and the extended attributes of users stay. Files belong to root in the container, and on the host to whoever copies; with -a they keep " +
			"their owners, set-user-id bits and all attributes. Each file appears whole, or not at all. What of a container is a device or a FIFO stays there without -a.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "archive", Aliases: []string{"a"}, Usage: "keep owners and all that goes with them"},
			&cli.BoolFlag{Name: "follow-link", Aliases: []string{"L"}, Usage: "copy what a link leads to, if the source is one"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 2, 2, "a source or a destination"); err != nil {
				return err
			}
			from, to := parseSide(c.Args().Get(0)), parseSide(c.Args().Get(1))
			switch {
			case from.container == "" && to.container == "":
				return usage("cp: neither %q nor %q is of a container; write CONTAINER:PATH", from.path, to.path)
			case from.container != "" && to.container != "":
				return usage("cp: both are of containers; use \"vzctl cp %s - | vzctl cp - %s\"", c.Args().Get(0), c.Args().Get(1))
			case from.path == "" || to.path == "":
				return usage("cp: a path is missing")
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error { return p.cp(c, api, from, to) })(c)
		},
	}
}

// copySide is one argument of cp.
type copySide struct{ container, path string }

// parseSide knows a path of the host by its beginning, or as it has no colon.
func parseSide(text string) copySide {
	container, path, found := strings.Cut(text, ":")
	if !found || container == "" || filepath.IsAbs(text) || strings.HasPrefix(text, ".") || strings.Contains(container, "/") {
		return copySide{path: text}
	}
	return copySide{container, path}
}

func (p *program) cp(c *cli.Context, api engine.API, from, to copySide) (err error) {
	options := engine.CopyOptions{Follow: c.Bool("follow-link"), Archive: c.Bool("archive")}
	var out io.Writer
	if to.path == "-" && to.container == "" {
		if out, err = p.tarOutput(c); err != nil {
			return err
		}
	}
	report, done := p.progress()
	if c.Bool("quiet") {
		report = nil
	}
	var warnings []string
	switch {
	case out != nil:
		warnings, err = api.ReadTar(c.Context, from.container, from.path, options, out, report)
	case from.container != "":
		warnings, err = api.CopyFrom(c.Context, from.container, from.path, to.path, options, report)
	case from.path == "-":
		warnings, err = api.WriteTar(c.Context, to.container, to.path, p.Stdin, report)
	default:
		warnings, err = api.CopyTo(c.Context, to.container, from.path, to.path, options, report)
	}
	done()
	return p.leftOut(warnings, err)
}

// leftOut tells what a copy has left out, and how it ended.
func (p *program) leftOut(warnings []string, err error) error {
	for _, w := range warnings {
		if _, err := fmt.Fprintln(p.Stderr, "vzctl: "+printable(w)); err != nil {
			return err
		}
	}
	if p.printed.failure() != nil {
		return nil // Run says how that ends
	}
	return err
}

// tarOutput is stdout for a tar, unless that is a terminal. It fails, and so ends the work, once nobody reads it.
func (p *program) tarOutput(c *cli.Context) (io.Writer, error) {
	if _, ok := terminal.Of(p.Stdout); ok {
		return nil, usage("%s: a tar is nothing for a terminal; redirect it to a file or a program", c.Command.Name)
	}
	return failing{c.App.Writer, &p.printed}, nil
}

type failing struct {
	io.Writer
	sink *sink
}

func (f failing) Write(b []byte) (int, error) {
	n, err := f.Writer.Write(b)
	return n, errors.Join(err, f.sink.failure())
}
