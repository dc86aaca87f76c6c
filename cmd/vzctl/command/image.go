package command

import (
	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/cmd/vzctl/bars"
	"github.com/vzctl/vzctl/core/engine"
)

func newImage(p *program) *cli.Command {
	return &cli.Command{
		Name:  "image",
		Usage: "images in the local store",
		Subcommands: []*cli.Command{
			newImagePull(p),
			newImageLs(p),
			newImageInspect(p),
			newImageRm(p),
			newImagePrune(p),
		},
	}
}

func (p *program) imageColumns() columns[engine.Image] {
	return columns[engine.Image]{
		heads: []string{"NAME", "ID", "PLATFORM", "CREATED", "SIZE"},
		row: func(i engine.Image) []string {
			created := ""
			if i.Created != nil {
				created = age(p.Now(), *i.Created)
			}
			name := i.Name
			if name == "" {
				name = i.Reference
			}
			return []string{name, short(i.ID.String()), i.Platform, created, bars.Size(i.Size)}
		},
	}
}
