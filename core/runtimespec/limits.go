package runtimespec

import (
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Limits are those of a container that can change. The zero value says nothing of any.
type Limits struct {
	CPUs           uint32 // of the VM at least; all of them may be used, unless CPUThousandths says how much
	CPUThousandths uint32
	CPUShares      uint64
	CPUSet         string // like "0-2,5"; see CheckCPUSet
	MemoryBytes    uint64
	MemorySwap     int64 // memory and swap together, -1 does not limit
	PidsLimit      int64 // -1 does not limit
}

// Change returns the resources of a spec as they are with the limits, and the part of them that is others than before, to be put into force. now is not changed.
func (l Limits) Change(now *specs.LinuxResources) (whole, changed *specs.LinuxResources, err error) {
	whole, changed = &specs.LinuxResources{}, &specs.LinuxResources{}
	if now != nil {
		*whole = *now
	}
	if l.CPUs > 0 || l.CPUShares > 0 || l.CPUSet != "" {
		cpu, part := specs.LinuxCPU{}, specs.LinuxCPU{}
		if whole.CPU != nil {
			cpu = *whole.CPU
		}
		if l.CPUs > 0 {
			quota := cpuTime(uint64(l.CPUs) * 1000)
			if l.CPUThousandths > 0 {
				quota = cpuTime(uint64(l.CPUThousandths))
			}
			cpu.Quota, cpu.Period = quota.Quota, quota.Period
			part.Quota, part.Period = quota.Quota, quota.Period
		}
		if l.CPUShares > 0 {
			if err := checkShares(l.CPUShares); err != nil {
				return nil, nil, err
			}
			cpu.Shares, part.Shares = &l.CPUShares, &l.CPUShares
		}
		if l.CPUSet != "" {
			cpu.Cpus, part.Cpus = l.CPUSet, l.CPUSet
		}
		whole.CPU, changed.CPU = &cpu, &part
	}
	if l.MemoryBytes > 0 || l.MemorySwap != 0 {
		memory := specs.LinuxMemory{}
		if whole.Memory != nil {
			memory = *whole.Memory
		}
		if l.MemoryBytes > 0 {
			limit := int64(l.MemoryBytes)
			memory.Limit = &limit
		}
		if l.MemorySwap != 0 {
			memory.Swap = &l.MemorySwap
		}
		if err := checkSwap(memory); err != nil {
			return nil, nil, err
		}
		// The two depend on each other, and so are put into force together.
		whole.Memory, changed.Memory = &memory, &specs.LinuxMemory{Limit: memory.Limit, Swap: memory.Swap}
	}
	if l.PidsLimit != 0 {
		limit := max(l.PidsLimit, -1)
		whole.Pids, changed.Pids = &specs.LinuxPids{Limit: &limit}, &specs.LinuxPids{Limit: &limit}
	}
	return whole, changed, nil
}

func checkShares(shares uint64) error {
	if shares < 2 || shares > 262144 {
		return invalid("set CPU shares", strconv.FormatUint(shares, 10), "they are not from 2 to 262144")
	}
	return nil
}

func checkSwap(m specs.LinuxMemory) error {
	if m.Swap != nil && (m.Limit == nil || *m.Swap > 0 && *m.Swap < *m.Limit || *m.Swap < -1) {
		return invalid("limit memory and swap", strconv.FormatInt(*m.Swap, 10), "it is less than the memory alone", "give --memory-swap, too")
	}
	return nil
}

// CheckCPUSet refuses a set of CPUs that is none, or has others than the first cpus.
func CheckCPUSet(set string, cpus uint32) error {
	for _, part := range strings.Split(set, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		from, fromErr := strconv.ParseUint(first, 10, 32)
		to, toErr := strconv.ParseUint(last, 10, 32)
		switch {
		case fromErr != nil || toErr != nil || from > to || slices.ContainsFunc([]string{first, last}, signed):
			return invalid("choose CPUs", set, "it is not a list like 0-2,5")
		case to >= uint64(cpus):
			return invalid("choose CPUs", set, "the VM has "+strconv.FormatUint(uint64(cpus), 10)+", counted from 0", "give more --cpus, or choose others")
		}
	}
	return nil
}

func signed(number string) bool { return strings.HasPrefix(number, "+") }
