package command

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

func newUpdate(p *program) *cli.Command {
	flags := append([]cli.Flag{cpusFlag(), cpuSharesFlag(), cpuSetFlag(), memoryFlag(), memorySwapFlag(), pidsLimitFlag(), restartFlag()}, ioFlags()...)
	return &cli.Command{
		Name:      "update",
		Usage:     "change the limits and the restart policy of containers, at once if they run",
		ArgsUsage: "CONTAINER...",
		Description: "The VM of a container that runs stays as large as it is, so that such a container can be given as much as it was started with, and no more. " +
			"The next VM of one that is stopped is as large as it must be.",
		Flags: flags,
		Action: func(c *cli.Context) error {
			if !slices.ContainsFunc(flags, func(f cli.Flag) bool { return c.IsSet(f.Names()[0]) }) {
				return usage("update: nothing is to change; see \"%s --help\"", c.Command.HelpName)
			}
			request, err := readUpdate(c)
			if err != nil {
				return err
			}
			return p.forEach(func(c *cli.Context, api engine.API, ref string) error { return api.Update(c.Context, ref, request) })(c)
		},
	}
}

func readUpdate(c *cli.Context) (request engine.UpdateRequest, err error) {
	request.Restart = c.String("restart")
	request.CPUShares, request.CPUSet, request.PidsLimit = c.Uint64("cpu-shares"), c.String("cpuset-cpus"), c.Int64("pids-limit")
	if c.IsSet("pids-limit") && request.PidsLimit == 0 {
		request.PidsLimit = -1 // as for run
	}
	if request.CPUs, request.CPUThousandths, err = parseCPUs(c.String("cpus")); err != nil {
		return request, usage("--cpus %w", err)
	}
	if request.IOLimits, err = readIO(c); err != nil {
		return request, err
	}
	if request.MemoryBytes, err = parseSize(c.String("memory")); err != nil {
		return request, usage("--memory %w", err)
	}
	if request.MemorySwap, err = parseSwap(c.String("memory-swap")); err != nil {
		return request, usage("--memory-swap %w", err)
	}
	return request, nil
}
