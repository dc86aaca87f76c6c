package guest

import (
	"fmt"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

func TestVMMemoryLimit(t *testing.T) {
	g := start(t)
	c := Container{ID: "c", Args: []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"}, Env: []string{"PATH=/bin"}}
	c.Edit = func(s *specs.Spec) {
		limit := int64(24 << 20)
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: func() *int64 { n := int64(20); return &n }()}
	}
	result, err := g.Run(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if e := result.Exit; !e.OomKilled || e.Code != 137 || e.Signal != 9 {
		t.Errorf("%+v", result)
	}
	c.ID, c.Args = "d", []string{"sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do sleep 5 & done"}
	if result, err = g.Run(c, nil); err != nil || result.Exit.OomKilled || !strings.Contains(result.Stderr, "fork") {
		t.Errorf("more processes than allowed: %+v, %v", result, err)
	}
}

// TestVMMemoryThatIsAllTakenIsNotVminitds has a container without a limit whose processes take more than the VM has, again and again.
func TestVMMemoryThatIsAllTakenIsNotVminitds(t *testing.T) {
	g := start(t)
	take := "while :; do for i in 1 2; do dd if=/dev/zero of=/dev/null bs=150M count=100 & done; dd if=/dev/zero of=/dev/null bs=150M count=100; wait; done"
	if err := g.Create(Container{ID: "c", Args: []string{"sh", "-c", take}, Env: []string{"PATH=/bin"}}); err != nil {
		t.Fatal(err)
	}
	events, err := g.Watch(t.Context(), &guestv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start("c", "init"); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		for killed := false; !killed; {
			e, err := events.Recv() // of the end of who was asked before, too
			if err != nil {
				t.Fatal(err)
			}
			killed = e.GetOutOfMemory() != nil
		}
		if stats, err := g.ContainerStats(t.Context(), &guestv1.ContainerStatsRequest{ContainerId: "c"}); err != nil || stats.MemoryLimitBytes != 0 {
			t.Errorf("stats %v, %v", stats, err)
		}
		result, err := g.Exec("c", fmt.Sprintf("e%d", round), specs.Process{Args: []string{"/bin/echo", "hi"}}, "")
		if err != nil || result.Exit.Code != 0 || result.Stdout != "hi\n" {
			t.Errorf("a process beside it: %+v, %v", result, err)
		}
	}
	if _, err := g.DeleteContainer(t.Context(), &guestv1.DeleteContainerRequest{ContainerId: "c"}); err != nil {
		t.Error(err)
	}
	if console := g.Console(); strings.Contains(console, "Out of memory:") || !strings.Contains(console, "Memory cgroup out of memory:") {
		t.Errorf("not only what containers may have was all taken:\n%s", console)
	}
}
