//go:build !linux

// Package footprint tells what a process has of the host: memory, with all its descendants, and time of its processors.
package footprint

import (
	"errors"
	"time"
)

// Of does not know on this platform, and says 0.
func Of(int) (uint64, error) { return 0, nil }

// Activity is what a process does.
type Activity struct {
	CPU     time.Duration // that all its threads have used since it began
	Stopped bool          // by a signal or a debugger
}

// ActivityOf does not know on this platform.
func ActivityOf(int) (Activity, error) { return Activity{}, errors.ErrUnsupported }
