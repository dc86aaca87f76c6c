package command

import (
	"encoding/json"
	"errors"
	"net/netip"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newInspect(p *program) *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "print all that is known of containers",
		ArgsUsage: "CONTAINER...",
		Flags: []cli.Flag{formatFlag("json"),
			&cli.BoolFlag{Name: "oci", Usage: "print the OCI runtime spec that the guest enforces, of one container"}},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 1, -1, "a container"); err != nil {
				return err
			}
			if c.Bool("oci") {
				if err := arguments(c, 1, 1, "a container"); err != nil {
					return err
				}
				return p.withEngine(printSpec)(c)
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				return inspectEach(p, c, p.containerColumns(false), func(ref string) (engine.Container, error) {
					container, err := api.Inspect(c.Context, ref)
					if container.Addresses == nil {
						container.Addresses = []netip.Prefix{} // a list is never null
					}
					return container, err
				})
			})(c)
		},
	}
}

// inspectEach prints what there is, as one array, even if some refs name nothing.
func inspectEach[T any](p *program, c *cli.Context, table columns[T], inspect func(ref string) (T, error)) error {
	items := []T{}
	failure := p.eachRef(c, func(ref string) error {
		item, err := inspect(ref)
		if err == nil {
			items = append(items, item)
		}
		return err
	})
	if _, part := errors.AsType[status](failure); failure != nil && !part {
		return failure
	}
	return errors.Join(show(c, items, table), failure)
}

func printSpec(c *cli.Context, api engine.API) error {
	spec, err := api.InspectOCI(c.Args().First())
	if err != nil {
		return err
	}
	to := json.NewEncoder(c.App.Writer)
	to.SetIndent("", "  ")
	return to.Encode(spec)
}
