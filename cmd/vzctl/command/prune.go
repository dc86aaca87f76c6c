package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/cmd/vzctl/bars"
	"github.com/vzctl/vzctl/core/engine"
)

func newPrune(p *program) *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove the containers that do not run, and print them",
		Description: "Those stay that have a checkpoint, or that are started when the host boots. Volumes stay, too: see volume prune. " +
			"Others that can be pruned are image, volume and system template.",
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				removed, err := api.PruneContainers(c.Context)
				for _, r := range removed {
					if printErr := printLine(c, r.Name); err == nil {
						err = printErr
					}
				}
				return err
			})(c)
		},
	}
}

func newImagePrune(p *program) *cli.Command {
	return &cli.Command{
		Name:        "prune",
		Usage:       "free what no image has any more",
		Description: "Parts of images that were not pulled to their end, and disks that were made of images that are gone. With --all the images are printed that were removed. How much was freed is said on stderr. It is refused while an image is being pulled or committed, or a container created.",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "remove the images that no container has, too"}},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				removed, freed, err := api.PruneImages(c.Context, c.Bool("all"))
				for _, r := range removed {
					if printErr := printLine(c, r.Name); err == nil {
						err = printErr
					}
				}
				if err == nil || freed > 0 {
					p.say("freed " + bars.Size(freed)) // not to stdout, which is a list
				}
				return err
			})(c)
		},
	}
}
