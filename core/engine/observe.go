package engine

import (
	"context"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	supervisorv1 "github.com/vzctl/vzctl/core/proto/vzctl/supervisor/v1"
)

// Stats is what a container uses: counts since its start, sizes in bytes. All but HostMemoryBytes is the guest's word.
type Stats struct {
	Uptime time.Duration // of the guest, which rates are to be taken by
	CPU    time.Duration // spent by all processes, on all CPUs together
	// CPUSystem is the part of CPU that was spent in the guest's kernel.
	CPUSystem time.Duration
	// MemoryBytes is what the container cannot do without; files that the kernel only keeps at hand are not counted. MemoryLimitBytes 0: no limit.
	MemoryBytes, MemoryLimitBytes             uint64
	Pids, PidsLimit                           uint64 // processes and threads; limit 0: none
	BlockReadBytes, BlockWriteBytes           uint64
	NetworkReceiveBytes, NetworkSendBytes     uint64
	NetworkReceivePackets, NetworkSendPackets uint64
	// HostMemoryBytes is what the sandbox has of the host's memory: its supervisor, plugin and VM. 0: not known.
	HostMemoryBytes uint64
}

// Process of a container, as the container sees it.
type Process struct {
	PID         int           `json:"pid"`
	Parent      int           `json:"ppid"` // 0: it has none there
	UserID      uint32        `json:"uid"`
	User        string        `json:"user,omitempty"` // by the container's own passwd
	State       string        `json:"state"`          // the kernel's letter
	CPU         time.Duration `json:"cpuNanoseconds"`
	Age         time.Duration `json:"ageNanoseconds"`
	MemoryBytes uint64        `json:"memoryBytes"`
	Terminal    string        `json:"terminal,omitempty"`
	Command     string        `json:"command"`
}

// Stats calls each with what a running container uses, at once and after each interval, until the container has ended, or each fails.
func (e *Engine) Stats(ctx context.Context, ref string, interval time.Duration, each func(Stats) error) error {
	s, err := e.connect(ref, lifecycle.Observe)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Stats(ctx, interval, func(m *supervisorv1.StatsResponse) error { return each(statsOf(m)) })
}

func statsOf(m *supervisorv1.StatsResponse) Stats {
	return Stats{Uptime: time.Duration(m.UptimeNanoseconds), CPU: time.Duration(m.CpuNanoseconds), CPUSystem: time.Duration(m.CpuSystemNanoseconds),
		MemoryBytes: m.MemoryBytes - min(m.MemoryReclaimableBytes, m.MemoryBytes), MemoryLimitBytes: m.MemoryLimitBytes, Pids: m.Pids, PidsLimit: m.PidsLimit,
		BlockReadBytes: m.BlockReadBytes, BlockWriteBytes: m.BlockWriteBytes, NetworkReceiveBytes: m.NetworkReceiveBytes, NetworkSendBytes: m.NetworkSendBytes,
		NetworkReceivePackets: m.NetworkReceivePackets, NetworkSendPackets: m.NetworkSendPackets, HostMemoryBytes: m.HostMemoryBytes}
}

// Top returns the processes of a running container.
func (e *Engine) Top(ctx context.Context, ref string) ([]Process, error) {
	s, err := e.connect(ref, lifecycle.Observe)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	answer, err := s.Top(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Process, 0, len(answer))
	for _, p := range answer {
		all = append(all, Process{PID: int(p.Pid), Parent: int(p.ParentPid), UserID: p.UserId, User: p.User, State: p.State, CPU: time.Duration(p.CpuNanoseconds),
			Age: time.Duration(p.AgeNanoseconds), MemoryBytes: p.ResidentBytes, Terminal: p.Terminal, Command: p.Command})
	}
	return all, nil
}
