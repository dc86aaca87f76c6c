package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestE2EFilters is about filters of system calls that our kernel makes once for many processes, see kernel/README.md: each has its own all the same.
func TestE2EFilters(t *testing.T) {
	p := me(t)
	image := p.desk.imageWith(t, "filters")
	name := p.name()
	p.must("run", "-d", "--name", name, "--security-opt", "seccomp=unconfined", "-m", "256m", image, "sleep", "1000")
	for range 3 {
		if got := p.must("exec", name, "filters"); got != "ok\n" {
			t.Errorf("filters: %s", got)
		}
	}
	if boot := p.must("logs", "--boot", name); strings.Contains(boot, "BUG:") || strings.Contains(boot, "WARNING:") {
		t.Errorf("the kernel complains:\n%s", boot)
	}
}

// TestE2EBoundingSetOfFurtherProcesses is that of the first one.
func TestE2EBoundingSetOfFurtherProcesses(t *testing.T) {
	for options, want := range map[string]string{
		"":                 "00000000a80425fb", // Docker's 14
		"--cap-drop=ALL":   "0000000000000000",
		"--cap-add=BPF":    "00000080a80425fb", // of the upper half
		"--privileged":     "000001ffffffffff",
		"--user=1000:1000": "00000000a80425fb",
		"--user=0:5":       "00000000a80425fb",
	} {
		t.Run(options, func(t *testing.T) {
			p := me(t)
			name := p.name()
			const look = "grep -E '^(CapBnd|Cap...|Uid|Gid|Groups|NoNewPrivs|Seccomp)' /proc/self/status"
			first := p.must(append(append([]string{"run", "--rm"}, strings.Fields(options)...), p.desk.busybox, "sh", "-c", look)...)
			p.must(append(append([]string{"run", "-d", "--name", name}, strings.Fields(options)...), p.desk.busybox, "sleep", "1000")...)
			further := p.must("exec", name, "sh", "-c", look)
			if !strings.Contains(further, fmt.Sprintf("CapBnd:\t%s\n", want)) || further != first {
				t.Errorf("the first one has\n%sand a further one\n%s, want a bounding set of %s", first, further, want)
			}
		})
	}
}
