package command

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newExport(p *program) *cli.Command {
	return &cli.Command{
		Name:        "export",
		Usage:       "write the root file system of a container as a tar",
		ArgsUsage:   "CONTAINER",
		Description: "The container may run or not. What is mounted in it is left out.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FILE` to write, which is replaced once all is written; - for stdout", Value: "-"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, 1, "a container"); err != nil {
				return err
			}
			return p.withEngine(p.export)(c)
		},
	}
}

func (p *program) export(c *cli.Context, api engine.API) error {
	if path := c.String("output"); path != "-" {
		return replaceFile(path, func(f io.Writer) error { return p.exportTo(c, api, f) })
	}
	out, err := p.tarOutput(c)
	if err != nil {
		return err
	}
	return p.exportTo(c, api, out)
}

func (p *program) exportTo(c *cli.Context, api engine.API, to io.Writer) error {
	report, done := p.progress()
	if c.Bool("quiet") {
		report = nil
	}
	warnings, err := api.Export(c.Context, c.Args().First(), to, report)
	done()
	return p.leftOut(warnings, err)
}

// replaceFile writes a file that takes its name once it is whole. What is no regular file, a device for one, is written to as it is.
func replaceFile(path string, write func(io.Writer) error) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".vzctl-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(write(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
