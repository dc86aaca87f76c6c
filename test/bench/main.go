// Command bench measures vzctl against what the same machine does without it, and writes a table:
//
//	go run ./test/bench [-o docs/benchmarks.md] [-pairs 7] [-only cold,pull]
//
// Times mean little on shared machines, so every row is a ratio to a reference that is measured in the same run, in turn with what is measured
// (pairs.go). There is one file per row; rows lists them. What all rows need, a root of their own and a registry with an image, is in stage.go; the
// virtual machine without vzctl, which several rows compare with, in bare.go. Nothing here fails because something is slow.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/accel"
)

// rows in the order of the table.
func rows() []row {
	return []row{
		start(), bootedStart(), containerd(), answer(), share(), crowd(), bootKernel(), startPlugin(), buildRootfs(), pullImage(), throughput(), execute(),
		executeRPC(), executeCall(), stop(), idleMemory(), idleClones(), resident(), list(),
	}
}

// probeArgument makes this program the child that finds out whether KVM is any good, see package accel.
const probeArgument = "probe-kvm"

func main() {
	if len(os.Args) > 1 && os.Args[1] == probeArgument {
		accel.Probe()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	out := flags.String("o", "", "`FILE` to write the table to, beside stdout")
	count := flags.Int("pairs", 7, "how often each row is measured")
	only := flags.String("only", "", "`NAMES` of rows to measure, separated by commas; empty: all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	load := loadAverage() // before this program adds to it
	s, err := newStage(ctx, max(1, *count))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var failed []error
	report := report{machine: s.describe(ctx), load: load}
	for _, r := range chosen {
		fmt.Fprintf(os.Stderr, "bench: %s: %s, against: %s\n", r.name, r.what, r.reference)
		if err := s.standBy(ctx); err != nil {
			return err
		}
		measured, err := r.measure(ctx, s)
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if _, missing := errors.AsType[unavailable](err); err != nil && !missing {
			failed = append(failed, fmt.Errorf("%s: %w", r.name, err))
		}
		line := report.add(r, measured, err)
		fmt.Fprintln(os.Stderr, "bench:  ", line)
	}
	if report.timeline, err = s.timeline(ctx); err != nil {
		failed = append(failed, err)
	}
	text := report.markdown()
	if _, err := io.WriteString(os.Stdout, text); err != nil {
		return err
	}
	if *out != "" {
		failed = append(failed, os.WriteFile(*out, []byte(text), 0o644))
	}
	return errors.Join(failed...)
}

func choose(names string) ([]row, error) {
	all := rows()
	if names == "" {
		return all, nil
	}
	var chosen []row
	for _, name := range strings.Split(names, ",") {
		i := slices.IndexFunc(all, func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
