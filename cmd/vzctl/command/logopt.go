package command

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vzctl/vzctl/core/containerlog"
	"github.com/vzctl/vzctl/core/store"
)

func logOptFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "log-opt",
		Usage: "`KEY=VALUE` of what is kept of the output: max-size=20m of one file, -1 for no bound, max-file=5 of them; may be repeated"}
}

// readLogOptions reads logOptFlag, of which the last word on each key counts.
func readLogOptions(c *cli.Context) (limits store.LogLimits, err error) {
	for _, entry := range c.StringSlice("log-opt") {
		key, value, _ := strings.Cut(entry, "=")
		switch key {
		case "max-size":
			if value == "-1" {
				limits.MaxBytes = containerlog.Unlimited
				continue
			}
			size, err := parseSize(value)
			if err != nil || size == 0 {
				return limits, usage("--log-opt max-size %q: use a size like 20m, or -1", value)
			}
			limits.MaxBytes = int64(size)
		case "max-file":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil || n == 0 {
				return limits, usage("--log-opt max-file %q: use a number from 1", value)
			}
			limits.MaxFiles = int(n)
		default:
			return limits, usage("--log-opt %q: use max-size=SIZE or max-file=NUMBER", entry)
		}
	}
	return limits, nil
}

// readTimes reads --since and --until.
func (p *program) readTimes(c *cli.Context, since, until *time.Time) (err error) {
	if *since, err = parseTime(c.String("since"), p.Now()); err != nil {
		return usage("--since %w", err)
	}
	if *until, err = parseTime(c.String("until"), p.Now()); err != nil {
		return usage("--until %w", err)
	}
	return nil
}

// parseTime reads a time, or how long before now it was. Empty is the zero time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, ok := unixTime(text); ok {
		return t, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: use a time like 2006-01-02T15:04:05Z, seconds since 1970, or how long ago, like 10m", text)
}

// unixTime reads seconds since 1970, with a fraction or without.
func unixTime(text string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || seconds < 0 || seconds > math.MaxInt32*100 || len(fraction) > 9 || strings.Trim(fraction, "0123456789") != "" {
		return time.Time{}, false
	}
	nanoseconds, _ := strconv.Atoi((fraction + "000000000")[:9]) // of digits
	return time.Unix(seconds, int64(nanoseconds)), true
}
