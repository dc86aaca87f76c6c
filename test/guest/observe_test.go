package guest

import (
	"errors"
	"io"
	"testing"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// checkObserved looks at container "c", which is a shell that sleeps again and again.
func checkObserved(t *testing.T, g *Guest) {
	before, err := g.ContainerStats(t.Context(), &guestv1.ContainerStatsRequest{ContainerId: "c"})
	if err != nil {
		t.Fatal(err)
	}
	after, err := g.ContainerStats(t.Context(), &guestv1.ContainerStatsRequest{ContainerId: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if after.AgentResidentBytes < 1<<20 || after.AgentResidentBytes > 64<<20 {
		t.Errorf("the agent says it has %d bytes in memory", after.AgentResidentBytes)
	}
	if after.UptimeNanoseconds <= before.UptimeNanoseconds || after.CpuNanoseconds < before.CpuNanoseconds || before.CpuNanoseconds == 0 || after.MemoryBytes == 0 || after.Pids == 0 {
		t.Errorf("%v, and then %v", before, after)
	}
	shell, err := processes(t, g, "c")
	if err != nil || len(shell) == 0 || shell[0].Pid != 1 || shell[0].ParentPid != 0 || shell[0].User != "root" || shell[0].Command != "sh -c while :; do sleep 0.2; done" ||
		shell[0].ResidentBytes == 0 || shell[0].AgeNanoseconds == 0 {
		t.Errorf("%v, %v", shell, err)
	}
	if _, err := g.ContainerStats(t.Context(), &guestv1.ContainerStatsRequest{ContainerId: "nobody"}); !errors.Is(err, fault.NotFound) {
		t.Errorf("stats of nobody: %v", err)
	}
	if _, err := processes(t, g, "nobody"); err == nil {
		t.Error("nobody has processes")
	}
}

func processes(t *testing.T, g *Guest, container string) (all []*guestv1.ContainerProcess, err error) {
	t.Helper()
	stream, err := g.ListProcesses(t.Context(), &guestv1.ListProcessesRequest{ContainerId: container})
	if err != nil {
		return nil, err
	}
	for {
		part, err := stream.Recv()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, part.Processes...)
	}
}
