// Package health is what it means that a container is healthy: a command is executed in it from time to time, and its exit codes add up to a status. It is pure;
// the supervisor executes the command. Fields, defaults and meanings are Docker's, whose images bring such checks with them.
package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Check is how a container is asked. In JSON it is as in an image's configuration, with durations in nanoseconds; zero values are the defaults.
type Check struct {
	// Test is "CMD" and a command, or "CMD-SHELL" and a line for the container's shell.
	Test []string `json:"test,omitempty"`
	// Interval is the pause between probes, Timeout how long one may take.
	Interval time.Duration `json:"interval,omitempty"`
	Timeout  time.Duration `json:"timeout,omitempty"`
	// StartPeriod is how long after its start a container that was not healthy yet may fail, and is asked every StartInterval.
	StartPeriod   time.Duration `json:"startPeriod,omitempty"`
	StartInterval time.Duration `json:"startInterval,omitempty"`
	// Retries is how many failures in a row make it unhealthy.
	Retries int `json:"retries,omitempty"`
}

// The defaults.
const (
	defaultInterval      = 30 * time.Second
	defaultTimeout       = 30 * time.Second
	defaultStartInterval = 5 * time.Second
	defaultRetries       = 3

	// minInterval keeps a container from being busy with nothing else, and the host with it.
	minInterval = 100 * time.Millisecond
)

const (
	testNone    = "NONE"
	testCommand = "CMD"
	testShell   = "CMD-SHELL"
)

// Parse reads what an image's configuration says under "Healthcheck". It returns nil if the image has none.
func Parse(text json.RawMessage) (*Check, error) {
	var c *Check
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	if c == nil || len(c.Test) == 0 || c.Test[0] == testNone {
		return nil, nil
	}
	return c, nil
}

// Merge returns the check of a container: the image's, nil being none, with what the user has set in its place. It returns nil if there is to be none. Errors
// are of reason fault.Invalid.
func Merge(image *Check, user Check) (*Check, error) {
	merged := Check{}
	if image != nil {
		merged = *image
	}
	if len(user.Test) > 0 {
		merged.Test = user.Test
	}
	if len(merged.Test) == 0 {
		if user.set() {
			return nil, invalid(errors.New("the image has none, and no command is given"))
		}
		return nil, nil
	}
	if merged.Test[0] == testNone {
		if user.set() {
			return nil, invalid(errors.New("there is to be none"))
		}
		return nil, nil
	}
	for _, d := range []struct {
		of, by *time.Duration
		name   string
	}{
		{&merged.Interval, &user.Interval, "interval"}, {&merged.Timeout, &user.Timeout, "timeout"},
		{&merged.StartPeriod, &user.StartPeriod, "start period"}, {&merged.StartInterval, &user.StartInterval, "start interval"},
	} {
		if *d.by < 0 || *d.by != 0 && *d.by < minInterval {
			return nil, invalid(fmt.Errorf("its %s of %s is less than %s", d.name, *d.by, minInterval))
		}
		if *d.by != 0 {
			*d.of = *d.by
		}
		*d.of = max(*d.of, 0)
	}
	if user.Retries < 0 {
		return nil, invalid(fmt.Errorf("%d retries are less than none", user.Retries))
	}
	if user.Retries != 0 {
		merged.Retries = user.Retries
	}
	if _, err := merged.Args(); err != nil {
		return nil, err
	}
	return &merged, nil
}

// Disabled is what a user gives to Merge who wants no check.
func Disabled() Check { return Check{Test: []string{testNone}} }

// Shell is a check by a line for the container's shell; with an empty one the image's stays.
func Shell(line string) Check {
	if line == "" {
		return Check{}
	}
	return Check{Test: []string{testShell, line}}
}

// set says whether anything but the command is.
func (c Check) set() bool {
	return c.Interval != 0 || c.Timeout != 0 || c.StartPeriod != 0 || c.StartInterval != 0 || c.Retries != 0
}

func invalid(cause error) error {
	return &fault.Error{Reason: fault.Invalid, Op: "set health check", Cause: cause}
}

// Args is the command that is executed.
func (c Check) Args() ([]string, error) {
	switch {
	case len(c.Test) > 1 && c.Test[0] == testCommand && c.Test[1] != "":
		return slices.Clone(c.Test[1:]), nil
	case len(c.Test) == 2 && c.Test[0] == testShell:
		return []string{"/bin/sh", "-c", c.Test[1]}, nil
	}
	return nil, invalid(errors.New("its test is neither CMD and a command nor CMD-SHELL and a line"))
}

// Patience is how long a probe may take.
func (c Check) Patience() time.Duration { return or(c.Timeout, defaultTimeout) }

// Pause is how long after one probe, or the start, the next one begins, age after the start of the container.
func (c Check) Pause(s State, age time.Duration) time.Duration {
	if s.Status == Starting && age < c.StartPeriod {
		return or(c.StartInterval, defaultStartInterval)
	}
	return or(c.Interval, defaultInterval)
}

// or is the default in the place of nothing, and never less than the host can bear: an image may say anything.
func or(value, otherwise time.Duration) time.Duration {
	if value <= 0 {
		return otherwise
	}
	return max(value, minInterval)
}

// Status of a container.
type Status string

// The statuses.
const (
	Starting  Status = "starting" // not known yet
	Healthy   Status = "healthy"
	Unhealthy Status = "unhealthy"
)

// Result of a probe.
type Result struct {
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	ExitCode int       `json:"exitCode"` // TimedOut if the probe was killed
	Output   string    `json:"output"`   // its beginning, MaxOutput bytes at most
}

// TimedOut is the exit code of a probe that took too long, or could not be executed.
const TimedOut = -1

// MaxOutput is how much is kept of what a probe writes, in bytes, and maxLog of how many.
const (
	MaxOutput = 4096
	maxLog    = 5
)

// State is what is known of a container.
type State struct {
	Status        Status   `json:"status"`
	FailingStreak int      `json:"failingStreak"`
	Log           []Result `json:"log"` // the last probes, oldest first
}

// Add takes the result of a probe that began age after the start of the container.
func (s *State) Add(c Check, r Result, age time.Duration) {
	r.Output = strings.ToValidUTF8(r.Output[:min(len(r.Output), MaxOutput)], "\uFFFD")
	s.Log = append(slices.Clone(s.Log[max(0, len(s.Log)-maxLog+1):]), r)
	if r.ExitCode == 0 {
		s.Status, s.FailingStreak = Healthy, 0
		return
	}
	if s.Status == Starting && age < c.StartPeriod {
		return
	}
	retries := c.Retries
	if retries <= 0 {
		retries = defaultRetries
	}
	if s.FailingStreak++; s.FailingStreak >= retries {
		s.Status = Unhealthy
	}
}
