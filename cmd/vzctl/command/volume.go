package command

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/cmd/vzctl/bars"
	"github.com/vzctl/vzctl/core/engine"
)

func newVolume(p *program) *cli.Command {
	return &cli.Command{
		Name:        "volume",
		Usage:       "disks that outlive containers",
		Subcommands: []*cli.Command{newVolumeCreate(p), newVolumeLs(p), newVolumeInspect(p), newVolumeRm(p), newVolumePrune(p)},
	}
}

func newVolumeCreate(p *program) *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "make a volume, and print its name",
		ArgsUsage: "[NAME]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "size", Aliases: []string{"s"}, Usage: "`SIZE` of its file system; on the host it takes what is written (default: 16g)"},
			&cli.StringSliceFlag{Name: "label", Usage: "`KEY=VALUE` kept with the volume; may be repeated"},
			&cli.StringSliceFlag{Name: "opt", Aliases: []string{"o"}, Usage: "`KEY=VALUE`: size=SIZE, or journal=ordered, writeback or journal; may be repeated"},
		},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 1, ""); err != nil {
				return err
			}
			request, err := volumeRequest(c)
			if err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				v, err := api.CreateVolume(c.Context, request)
				if err != nil {
					return err
				}
				return printLine(c, v.Name)
			})(c)
		},
	}
}

func volumeRequest(c *cli.Context) (request engine.VolumeRequest, err error) {
	request.Name = c.Args().First()
	options, err := keyValues("opt", c.StringSlice("opt"), false)
	if err != nil {
		return request, err
	}
	size := c.String("size")
	for key, value := range options {
		switch {
		case key == "size" && size == "":
			size = value
		case key == "journal":
			request.Journal = value
		default:
			return request, usage("--opt %s: use size=SIZE once, or journal=MODE", key)
		}
	}
	if request.SizeBytes, err = parseSize(size); err != nil {
		return request, usage("--size %w", err)
	}
	request.Labels, err = keyValues("label", c.StringSlice("label"), true)
	return request, err
}

func (p *program) volumeColumns() columns[engine.VolumeView] {
	return columns[engine.VolumeView]{
		heads: []string{"NAME", "SIZE", "ON DISK", "CREATED", "CONTAINERS"},
		row: func(v engine.VolumeView) []string {
			return []string{v.Name, bars.Size(v.SizeBytes), bars.Size(v.AllocatedBytes), age(p.Now(), v.Created), strings.Join(v.Containers, ", ")}
		},
	}
}

func newVolumeLs(p *program) *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list volumes",
		Flags:   []cli.Flag{formatFlag("table"), &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print names only"}},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				volumes, err := api.ListVolumes(c.Context)
				if err != nil {
					return err
				}
				if c.Bool("quiet") {
					return printNames(c, volumes)
				}
				return show(c, volumes, p.volumeColumns())
			})(c)
		},
	}
}

func printNames(c *cli.Context, volumes []engine.VolumeView) error {
	for _, v := range volumes {
		if err := printLine(c, v.Name); err != nil {
			return err
		}
	}
	return nil
}

func newVolumeInspect(p *program) *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "print all that is known of volumes",
		ArgsUsage: "VOLUME...",
		Flags:     []cli.Flag{formatFlag("json")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "a volume"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return inspectEach(p, c, p.volumeColumns(), func(ref string) (engine.VolumeView, error) { return api.InspectVolume(c.Context, ref) })
			})(c)
		},
	}
}

func newVolumeRm(p *program) *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Aliases:   []string{"delete"},
		Usage:     "remove volumes that no container has",
		ArgsUsage: "VOLUME...",
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "a volume"); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return p.eachRef(c, func(ref string) error {
					if err := api.RemoveVolume(c.Context, ref); err != nil {
						return err
					}
					return printLine(c, ref)
				})
			})(c)
		},
	}
}

func newVolumePrune(p *program) *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove the volumes without a name of their own that no container has, and print them",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "those with a name, too"}},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				removed, err := api.PruneVolumes(c.Context, c.Bool("all"))
				if printErr := printNames(c, removed); err == nil {
					err = printErr
				}
				return err
			})(c)
		},
	}
}
