// Command bench measures how long kernels take from QEMU's start to their first user program, side by side:
//
//	go run ./kernel/bench [-runs 5] [-memory 256] NAME=KERNEL ...
//
// Each kernel boots the same 2 MB static init (guest/init.c) on the same microvm with the same command line. Boots of the
// kernels are interleaved, so that a machine growing slower or faster is fair to all. Three figures per kernel:
//
//   - wall: QEMU's exec to the init's line on the serial port, median and minimum of -runs;
//   - CPU: what the QEMU process used of the host's processors until it ended, right after;
//   - guest: nanoseconds of the guest's own clock under -icount, where one instruction is one nanosecond. It does
//     not depend on the load of the machine, but does not see what instructions cost (translation, device exits).
//
// The last column is how many times longer than the first kernel each one took. KERNEL is a vmlinux with a PVH note,
// a bzImage, or "missing" names which are skipped with a line saying so. Start with boot.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type subject struct {
	name, path string
	size       int64
	wall       []time.Duration
	processor  []time.Duration
	guest      time.Duration
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "kernel bench:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	runs := flags.Int("runs", 5, "wall-clock boots of each kernel; 0 measures guest time only")
	memory := flags.Int("memory", 256, "MiB of guest memory")
	cpu := flags.String("cpu", "max,-erms,-fsrm", "QEMU's CPU model and flags")
	extra := flags.String("append", "", "words added to the kernel command line")
	show := flags.Bool("show", false, "print what the guest says")
	initSource := flags.String("init", "kernel/bench/guest/init.c", "source of the guest's init")
	if err := flags.Parse(args); err != nil {
		return err
	}
	subjects, err := parseSubjects(flags.Args(), os.Stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vzctl-kernel-bench-")
	if err != nil {
		return fmt.Errorf("make a directory for the measured initrd: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	initrd, err := buildInitrd(dir, *initSource)
	if err != nil {
		return err
	}
	machine := machine{initrd: initrd, cpu: *cpu, memoryMiB: *memory, extra: *extra}
	if *show {
		machine.console = os.Stderr
	}
	if err := measure(subjects, machine, *runs); err != nil {
		return err
	}
	return report(out, subjects)
}

func parseSubjects(args []string, log io.Writer) ([]*subject, error) {
	var subjects []*subject
	for _, arg := range args {
		name, path, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not NAME=KERNEL", arg)
		}
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) && len(subjects) > 0 {
			fmt.Fprintf(log, "kernel bench: no %s kernel at %s, leaving it out\n", name, path)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("kernel %q: %w", name, err)
		}
		subjects = append(subjects, &subject{name: name, path: path, size: info.Size()})
	}
	if len(subjects) == 0 {
		return nil, errors.New("no kernel named; give at least one NAME=KERNEL")
	}
	return subjects, nil
}

func measure(subjects []*subject, machine machine, runs int) error {
	for _, s := range subjects {
		result, err := bootWithDeadline(machine, s.path, true)
		if err != nil {
			return fmt.Errorf("kernel %q counting instructions: %w", s.name, err)
		}
		s.guest = result.guest
	}
	for range runs {
		for _, s := range subjects {
			result, err := bootWithDeadline(machine, s.path, false)
			if err != nil {
				return fmt.Errorf("kernel %q: %w", s.name, err)
			}
			s.wall = append(s.wall, result.wall)
			s.processor = append(s.processor, result.processor)
		}
	}
	return nil
}

// bootWithDeadline gives up after two minutes: thirty times what the slowest measured kernel takes.
func bootWithDeadline(machine machine, kernel string, icount bool) (bootResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return machine.boot(ctx, kernel, icount)
}

func report(out io.Writer, subjects []*subject) error {
	var b strings.Builder
	b.WriteString("| kernel | size | wall to init, median (min) | host CPU, median (min) | guest instructions to init | times the first: wall, CPU, guest |\n|---|---|---|---|---|---|\n")
	first := subjects[0]
	for _, s := range subjects {
		wall, processor, ratio := "-", "-", "-"
		if len(s.wall) > 0 {
			wall, processor = spread(s.wall), spread(s.processor)
			ratio = times(median(s.wall), median(first.wall)) + ", " + times(median(s.processor), median(first.processor))
		}
		fmt.Fprintf(&b, "| %s | %.1f MB | %s | %s | %.1f M | %s, %s |\n", s.name, float64(s.size)/1e6, wall, processor,
			float64(s.guest.Microseconds())/1e3, ratio, times(s.guest, first.guest))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func spread(values []time.Duration) string {
	return fmt.Sprintf("%d ms (%d)", median(values).Milliseconds(), slices.Min(values).Milliseconds())
}

func times(value, reference time.Duration) string {
	return fmt.Sprintf("%.2f", float64(value)/float64(reference))
}

func median(values []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// buildInitrd compiles the init and packs it, with the console node the kernel opens for it, as an uncompressed cpio.
func buildInitrd(dir, source string) (string, error) {
	binary := filepath.Join(dir, "init")
	compile := exec.Command("gcc", "-static", "-nostdlib", "-Os", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-o", binary, source)
	if text, err := compile.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile %s: %w: %s", source, err, text)
	}
	code, err := os.ReadFile(binary)
	if err != nil {
		return "", fmt.Errorf("read the compiled init: %w", err)
	}
	path := filepath.Join(dir, "initrd.cpio")
	if err := os.WriteFile(path, archive(nil, program{"init", code}), 0o600); err != nil {
		return "", fmt.Errorf("write the initrd: %w", err)
	}
	return path, nil
}
