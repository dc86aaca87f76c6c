package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/guest/vminitd/failure"
)

// setting is a file of a cgroup and what is written to it.
type setting struct{ file, value string }

// limits returns what the resources of a spec mean for cgroup v2, or an error naming one that it has no means for.
func limits(r *specs.LinuxResources) ([]setting, error) {
	if r == nil {
		return nil, nil
	}
	err := failure.First(
		failure.Unenforced(len(r.HugepageLimits) > 0, "linux.resources.hugepageLimits"),
		failure.Unenforced(r.Network != nil, "linux.resources.network"),
		failure.Unenforced(len(r.Rdma) > 0, "linux.resources.rdma"))
	if err != nil {
		return nil, err
	}
	cpu, err := cpuLimits(r.CPU)
	if err != nil {
		return nil, err
	}
	memory, err := memoryLimits(r.Memory)
	if err != nil {
		return nil, err
	}
	disks, err := blockIO(r.BlockIO)
	if err != nil {
		return nil, err
	}
	settings := slices.Concat(cpu, memory, disks)
	if r.Pids != nil && r.Pids.Limit != nil {
		settings = append(settings, setting{"pids.max", limit(*r.Pids.Limit)})
	}
	for file, value := range r.Unified {
		if !unifiedName(file) {
			return nil, fmt.Errorf("linux.resources.unified names %.60q", file)
		}
		settings = append(settings, setting{file, value})
	}
	return settings, nil
}

func cpuLimits(c *specs.LinuxCPU) (settings []setting, err error) {
	if c == nil {
		return nil, nil
	}
	if err := failure.First(failure.Unenforced(c.RealtimeRuntime != nil || c.RealtimePeriod != nil, "linux.resources.cpu.realtime")); err != nil {
		return nil, err
	}
	if c.Shares != nil && *c.Shares != 0 {
		// The mapping of all OCI runtimes: 2..262144 to 1..10000.
		shares := min(max(*c.Shares, 2), 262144)
		settings = append(settings, setting{"cpu.weight", strconv.FormatUint(1+(shares-2)*9999/262142, 10)})
	}
	if c.Quota != nil || c.Period != nil {
		quota, period := "max", uint64(100_000)
		if c.Quota != nil && *c.Quota > 0 {
			quota = strconv.FormatInt(*c.Quota, 10)
		}
		if c.Period != nil && *c.Period > 0 {
			period = *c.Period
		}
		settings = append(settings, setting{quotaFile, quota + " " + strconv.FormatUint(period, 10)})
	}
	if c.Burst != nil {
		settings = append(settings, setting{"cpu.max.burst", strconv.FormatUint(*c.Burst, 10)})
	}
	if c.Idle != nil {
		settings = append(settings, setting{"cpu.idle", strconv.FormatInt(*c.Idle, 10)})
	}
	if c.Cpus != "" {
		settings = append(settings, setting{"cpuset.cpus", c.Cpus})
	}
	if c.Mems != "" {
		settings = append(settings, setting{"cpuset.mems", c.Mems})
	}
	return settings, nil
}

func memoryLimits(m *specs.LinuxMemory) (settings []setting, err error) {
	if m == nil {
		return nil, nil
	}
	//lint:ignore SA1019 a deprecated limit that is asked for must be refused, not dropped
	kernel := m.Kernel
	err = failure.First(
		failure.Unenforced(kernel != nil && *kernel > 0, "linux.resources.memory.kernel"),
		failure.Unenforced(m.KernelTCP != nil && *m.KernelTCP > 0, "linux.resources.memory.kernelTCP"),
		failure.Unenforced(m.Swappiness != nil, "linux.resources.memory.swappiness"),
		failure.Unenforced(m.DisableOOMKiller != nil && *m.DisableOOMKiller, "linux.resources.memory.disableOOMKiller"),
		failure.Unenforced(m.CheckBeforeUpdate != nil && *m.CheckBeforeUpdate, "linux.resources.memory.checkBeforeUpdate"))
	if err != nil {
		return nil, err
	}
	if m.Limit != nil {
		settings = append(settings, setting{"memory.max", limit(*m.Limit)})
	}
	if m.Reservation != nil {
		settings = append(settings, setting{"memory.low", limit(*m.Reservation)})
	}
	if m.Swap != nil {
		// The spec counts memory and swap together, cgroup v2 swap alone.
		swap := *m.Swap
		if swap > 0 {
			if m.Limit == nil || *m.Limit < 0 || swap < *m.Limit {
				return nil, errors.New("linux.resources.memory.swap is below the memory limit")
			}
			swap -= *m.Limit
		}
		settings = append(settings, setting{"memory.swap.max", limit(swap)})
	}
	return settings, nil
}

// limit writes -1 as cgroup v2 does.
func limit(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// unifiedName reports whether a name can be a controller's file and nothing else.
func unifiedName(name string) bool {
	dot := false
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_':
		case c == '.' && i > 0:
			dot = true
		default:
			return false
		}
	}
	return dot && name[:min(7, len(name))] != "cgroup."
}
