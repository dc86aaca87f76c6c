package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settle is how long a machine is left alone before it is weighed: the guest gives memory back that its start needed.
const settle = 4 * time.Second

// idleMemory weighs processes by their proportional share.
func idleMemory() row {
	return row{
		name: "memory", what: "memory of an idle container on the host: PSS of supervisor, hypervisor plugin and QEMU", reference: "QEMU with the same kernel and machine, and an init that does nothing",
		unit: bytes, target: target{ratio: 1.3},
		measure: func(ctx context.Context, s *stage) (measured, error) {
			initrd, err := s.cInitrd(ctx, "test/bench/guest/idle.c")
			if err != nil {
				return measured{}, err
			}
			var shares []string
			container := func(ctx context.Context) (total float64, err error) {
				total, shares, err = s.weighContainer(ctx)
				return total, err
			}
			m, err := pairs(ctx, min(s.count, 5), container, func(ctx context.Context) (float64, error) { return s.bare.weigh(ctx, initrd) })
			m.notes = append(m.notes, "the last container's: "+strings.Join(shares, ", ")+"; netd and its plugin serve all containers of a network, and a VM stands by for all that are to come: they are not counted")
			return m, err
		},
	}
}

// idleClones weighs many whose memory is mostly one.
func idleClones() row {
	const many = 20
	return row{
		name: "clones", what: fmt.Sprintf("memory of each of %d idle containers in cloned VMs: PSS of supervisor, hypervisor plugin and QEMU", many),
		reference: "QEMU with the same kernel and machine, booted, and an init that does nothing",
		unit:      bytes, target: target{ratio: 0.35},
		measure: func(ctx context.Context, s *stage) (measured, error) {
			initrd, err := s.cInitrd(ctx, "test/bench/guest/idle.c")
			if err != nil {
				return measured{}, err
			}
			var shares map[string]float64
			container := func(ctx context.Context) (each float64, err error) {
				each, shares, err = s.weighMany(ctx, many)
				return each, err
			}
			m, err := pairs(ctx, 1, container, func(ctx context.Context) (float64, error) { return s.bare.weigh(ctx, initrd) })
			var words []string
			for _, name := range slices.Sorted(maps.Keys(shares)) {
				words = append(words, fmt.Sprintf("%s %s MB", name, bytes.format(shares[name])))
			}
			m.notes = append(m.notes, "of each: "+strings.Join(words, ", "))
			return m, err
		},
	}
}

// weighMany returns what each of many containers has for itself, and what of that each program has.
func (s *stage) weighMany(ctx context.Context, many int) (each float64, shares map[string]float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var pids []int
	var removes []func() error
	defer func() {
		for _, remove := range removes {
			err = errors.Join(err, remove())
		}
	}()
	for range many {
		id, remove, err := s.detached(ctx)
		if err != nil {
			return 0, nil, err
		}
		removes = append(removes, remove)
		pid, err := s.supervisor(ctx, id)
		if err != nil {
			return 0, nil, err
		}
		pids = append(pids, pid)
	}
	if err := pause(ctx, settle); err != nil {
		return 0, nil, err
	}
	all, err := processes()
	if err != nil {
		return 0, nil, err
	}
	shares = map[string]float64{}
	for _, pid := range pids {
		for _, p := range all.ofContainer(pid) {
			size, err := pss(p.pid)
			if err != nil {
				return 0, nil, err
			}
			each += size / float64(many)
			shares[p.name()] += size / float64(many)
		}
	}
	return each, shares, nil
}

// supervisor is the process of a container on the host.
func (s *stage) supervisor(ctx context.Context, id string) (int, error) {
	text, err := output(s.vzctl(ctx, "inspect", id))
	if err != nil {
		return 0, err
	}
	var containers []struct{ PID int }
	if err := json.Unmarshal([]byte(text), &containers); err != nil || len(containers) != 1 || containers[0].PID == 0 {
		return 0, fmt.Errorf("vzctl inspect printed %q: %w", text, err)
	}
	return containers[0].PID, nil
}

// weighContainer returns the sum of what a container has for itself, and each process's share.
func (s *stage) weighContainer(ctx context.Context) (total float64, shares []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id, remove, err := s.detached(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	supervisor, err := s.supervisor(ctx, id)
	if err != nil {
		return 0, nil, err
	}
	if err := pause(ctx, settle); err != nil {
		return 0, nil, err
	}
	all, err := processes()
	if err != nil {
		return 0, nil, err
	}
	for _, p := range all.ofContainer(supervisor) {
		size, err := pss(p.pid)
		if err != nil {
			return 0, nil, err
		}
		total += size
		shares = append(shares, fmt.Sprintf("%s %s MB", p.name(), bytes.format(size)))
	}
	for _, p := range all {
		if len(p.args) < 2 || p.args[1] != "netd" || !strings.Contains(strings.Join(p.args, " "), s.root) {
			continue
		}
		for _, q := range all.below(p.pid) {
			size, err := pss(q.pid)
			if err != nil {
				return 0, nil, err
			}
			shares = append(shares, fmt.Sprintf("%s %s MB", q.name(), bytes.format(size)))
		}
	}
	standing, err := all.standing(s.root)
	if standing > 0 {
		shares = append(shares, fmt.Sprintf("a VM that stands by, and its holder, %s MB", bytes.format(standing)))
	}
	return total, shares, err
}

// weigh boots a machine whose init does nothing.
func (b *bare) weigh(ctx context.Context, initrd string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	g, err := b.boot(ctx, b.kernel, initrd)
	if err != nil {
		return 0, err
	}
	defer g.kill()
	if err := errors.Join(g.await(idleSays), pause(ctx, settle)); err != nil {
		return 0, err
	}
	return pss(g.cmd.Process.Pid)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// process of the host.
type process struct {
	pid, parent int
	args        []string
}

// name is the program's, with vzctl's own daemons told apart.
func (p process) name() string {
	name := filepath.Base(p.args[0])
	if name == "vzctl" && len(p.args) > 1 {
		name += " " + p.args[1]
	}
	return name
}

type processList []process

func processes() (processList, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all processList
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, statErr := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		args, argsErr := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if statErr != nil || argsErr != nil || len(args) == 0 {
			continue // it has ended, or is the kernel's
		}
		var state string
		p := process{pid: pid, args: strings.Split(strings.TrimRight(string(args), "\x00"), "\x00")}
		text := string(stat)
		if _, err := fmt.Sscan(text[strings.LastIndexByte(text, ')')+1:], &state, &p.parent); err != nil {
			return nil, fmt.Errorf("read the parent of process %d: %w", pid, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// below are a process and its descendants, but for supervisors: those are of other containers, or wait in reserve for them.
func (all processList) below(pid int) (out processList) {
	for _, p := range all {
		if p.pid == pid {
			out = append(out, p)
		}
	}
	for _, p := range all {
		if p.parent == pid && p.name() != "vzctl supervise" {
			out = append(out, all.below(p.pid)...)
		}
	}
	return out
}

// pss is a process's memory in bytes, what it shares divided among those who share it.
func pss(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kB float64
		if n, _ := fmt.Sscanf(line, "Pss: %f kB", &kB); n == 1 {
			return kB * 1024, nil
		}
	}
	return 0, fmt.Errorf("process %d has no Pss", pid)
}
