package agent

import (
	"context"
	"fmt"
	"os"
	"slices"

	"google.golang.org/grpc"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/vminitd/container"
	"github.com/vzctl/vzctl/guest/vminitd/identity"
)

// ContainerStats reads what a container has used.
func (a *Agent) ContainerStats(_ context.Context, r *guestv1.ContainerStatsRequest) (*guestv1.ContainerStatsResponse, error) {
	at := identity.Uptime()
	s, err := a.runtime.Stats(r.ContainerId)
	if err != nil {
		return nil, err
	}
	return &guestv1.ContainerStatsResponse{UptimeNanoseconds: uint64(at), CpuNanoseconds: s.CPU, CpuSystemNanoseconds: s.CPUSystem,
		MemoryBytes: s.Memory, MemoryReclaimableBytes: s.MemoryReclaimable, MemoryLimitBytes: s.MemoryLimit, Pids: s.Pids, PidsLimit: s.PidsLimit,
		BlockReadBytes: s.BlockRead, BlockWriteBytes: s.BlockWrite, NetworkReceiveBytes: s.ReceivedBytes, NetworkSendBytes: s.SentBytes,
		NetworkReceivePackets: s.ReceivedPackets, NetworkSendPackets: s.SentPackets,
		AgentResidentBytes: residentBytes()}, nil
}

// residentBytes is what this process has in memory.
func residentBytes() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident uint64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0
	}
	return resident * uint64(os.Getpagesize())
}

// processesAtOnce is how many processes one message has: with the longest arguments it stays below what a host takes.
const processesAtOnce = 100

// ListProcesses sends the processes of a container.
func (a *Agent) ListProcesses(r *guestv1.ListProcessesRequest, stream grpc.ServerStreamingServer[guestv1.ListProcessesResponse]) error {
	at := identity.Uptime()
	all, err := a.runtime.Processes(r.ContainerId)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(all, processesAtOnce) {
		answer := &guestv1.ListProcessesResponse{}
		for _, p := range part {
			answer.Processes = append(answer.Processes, convertProcess(p, uint64(max(0, at-p.Started))))
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	return nil
}

func convertProcess(p container.ProcessInfo, age uint64) *guestv1.ContainerProcess {
	return &guestv1.ContainerProcess{Pid: int64(p.Pid), ParentPid: int64(p.Parent), UserId: p.UID, User: p.User, State: p.State,
		CpuNanoseconds: uint64(p.CPU), AgeNanoseconds: age, ResidentBytes: p.Resident, Terminal: p.Terminal, Command: p.Command}
}
