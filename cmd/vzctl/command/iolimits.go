package command

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/engine"
)

// ioKinds are the limits of disks, and what each counts.
var ioKinds = []struct {
	kind  engine.IOKind
	bytes bool
	usage string
}{
	{engine.IOReadBytes, true, "`[DIR:]SIZE` read from a disk in a second at most"},
	{engine.IOWriteBytes, true, "`[DIR:]SIZE` written to a disk in a second at most"},
	{engine.IOReadOperations, false, "`[DIR:]NUMBER` of reads from a disk in a second at most"},
	{engine.IOWriteOperations, false, "`[DIR:]NUMBER` of writes to a disk in a second at most"},
}

// ioFlags limit the use of disks.
func ioFlags() (flags []cli.Flag) {
	for _, k := range ioKinds {
		flags = append(flags, &cli.StringSliceFlag{Name: "device-" + string(k.kind), Usage: k.usage + "; DIR is where a volume is mounted, / without it; -1 is unlimited; may be repeated"})
	}
	return flags
}

// readIO reads ioFlags.
func readIO(c *cli.Context) (limits []engine.IOLimit, err error) {
	for _, k := range ioKinds {
		flag := "device-" + string(k.kind)
		for _, text := range c.StringSlice(flag) {
			limit := engine.IOLimit{Kind: k.kind, Path: "/"}
			rate := text
			if i := strings.LastIndexByte(text, ':'); i >= 0 {
				limit.Path, rate = text[:i], text[i+1:]
			}
			if limit.PerSecond, err = parseRate(rate, k.bytes); err != nil {
				return nil, usage("--%s %q: %w", flag, text, err)
			}
			limits = append(limits, limit)
		}
	}
	return limits, nil
}

// parseRate reads how much there may be in a second; "-1" is 0, which does not limit.
func parseRate(text string, bytes bool) (uint64, error) {
	switch {
	case text == "-1":
		return 0, nil
	case text == "":
		return 0, errors.New("how much is missing")
	case bytes:
		return parseSize(text)
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q: use a number from 1", text)
	}
	return n, nil
}
