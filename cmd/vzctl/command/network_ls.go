package command

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newNetworkLs(p *program) *cli.Command {
	return &cli.Command{
		Name:    "ls",
		Aliases: []string{"list"},
		Usage:   "list networks",
		Flags:   []cli.Flag{formatFlag("table")},
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0, ""); err != nil {
				return err
			}
			return p.withEngine(func(c *cli.Context, api engine.API) error {
				networks, err := api.ListNetworks(c.Context)
				if err != nil {
					return err
				}
				return show(c, networks, columns[engine.NetworkView]{
					heads: []string{"NAME", "PLUGIN", "SUBNET", "RUNNING", "CONTAINERS"},
					row: func(n engine.NetworkView) []string {
						return []string{n.Name, n.Plugin, subnets(n), yes(n.Running), strconv.Itoa(len(n.Endpoints))}
					},
				})
			})(c)
		},
	}
}

func subnets(n engine.NetworkView) string {
	if n.Subnet != "" && n.SubnetV6 != "" {
		return n.Subnet + ", " + n.SubnetV6
	}
	return n.Subnet + n.SubnetV6
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
