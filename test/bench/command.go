package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// patience bounds whatever is measured once; without it something hung would look like something slow.
const patience = 3 * time.Minute

// command is asked to end before it is killed, so that it takes along what it started.
func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// timed runs a command to its end and returns how long it took, in seconds. Its output is dropped, what it complains of is in the error.
func timed(cmd *exec.Cmd) (float64, error) {
	began := time.Now()
	if err := quiet(cmd); err != nil {
		return 0, err
	}
	return time.Since(began).Seconds(), nil
}

func quiet(cmd *exec.Cmd) error {
	var complaints strings.Builder
	cmd.Stderr = &complaints
	return explain(cmd, cmd.Run(), &complaints)
}

// output is that of a command that does its work.
func output(cmd *exec.Cmd) (string, error) {
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	return string(out), explain(cmd, err, &complaints)
}

func explain(cmd *exec.Cmd, err error, complaints *strings.Builder) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w: %s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), err, strings.TrimSpace(complaints.String()))
}
