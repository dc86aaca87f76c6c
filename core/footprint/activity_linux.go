package footprint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Activity is what a process does.
type Activity struct {
	CPU     time.Duration // that all its threads have used since it began
	Stopped bool          // by a signal or a debugger
}

// ActivityOf a process, without those below it.
func ActivityOf(pid int) (Activity, error) { return activityOf("/proc", pid) }

// tick is the unit of times in /proc: USER_HZ is 100 on every architecture that vzctl is for.
const tick = time.Second / 100

func activityOf(proc string, pid int) (Activity, error) {
	path := filepath.Join(proc, strconv.Itoa(pid), "stat")
	text, err := os.ReadFile(path)
	if err != nil {
		return Activity{}, err
	}
	// The program's name, in parentheses, may have any character.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return Activity{}, fmt.Errorf("%s has %d fields after the name", path, len(fields))
	}
	user, err := strconv.ParseUint(fields[11], 10, 40)
	system, sysErr := strconv.ParseUint(fields[12], 10, 40)
	if err := errors.Join(err, sysErr); err != nil {
		return Activity{}, fmt.Errorf("%s: %w", path, err)
	}
	return Activity{CPU: time.Duration(user+system) * tick, Stopped: fields[0] == "T" || fields[0] == "t"}, nil
}
