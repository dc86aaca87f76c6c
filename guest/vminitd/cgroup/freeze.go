package cgroup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Freeze stops all processes of the cgroup where they stand, and returns when they do. A signal that kills ends them all the same.
func (g *Group) Freeze(ctx context.Context) error {
	events, err := os.Open(filepath.Join(g.dir, "cgroup.events"))
	if err != nil {
		return err
	}
	defer func() { _ = events.Close() }()
	if err := write(g.dir, freezeFile, "1"); err != nil {
		return err
	}
	for {
		frozen, err := isFrozen(events)
		if frozen || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("its processes do not stand still: %w", err)
		}
		// The kernel tells of changes by poll; the limit is for ctx.
		polled := []unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}
		if _, err := unix.Poll(polled, int(freezePatience.Milliseconds())); err != nil && err != unix.EINTR {
			return err
		}
	}
}

// Thaw lets the processes go on, frozen or not.
func (g *Group) Thaw() error { return write(g.dir, freezeFile, "0") }

const (
	freezeFile     = "cgroup.freeze"
	freezePatience = 100 * time.Millisecond
)

func isFrozen(events *os.File) (bool, error) {
	text := make([]byte, 4096)
	n, err := unix.Pread(int(events.Fd()), text, 0)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text[:n])) {
		if strings.TrimSpace(line) == "frozen 1" {
			return true, nil
		}
	}
	return false, nil
}
