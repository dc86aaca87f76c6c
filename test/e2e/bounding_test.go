package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestE2EBoundingSetOfFurtherProcesses is that of the first one.
func TestE2EBoundingSetOfFurtherProcesses(t *testing.T) {
	for name, test := range map[string]struct{ options, want string }{
		"default":    {"", "00000000a80425fb"}, // Docker's 14
		"none":       {"--cap-drop=ALL", "0000000000000000"},
		"a high one": {"--cap-add=BPF", "00000080a80425fb"},
		"all":        {"--privileged", "000001ffffffffff"},
		"a user":     {"--user=1000:1000", "00000000a80425fb"},
		"a group":    {"--user=0:5", "00000000a80425fb"},
		"more":       {"--group-add=7", "00000000a80425fb"},
	} {
		t.Run(name, func(t *testing.T) {
			p := me(t)
			name := p.name()
			const look = "grep -E '^(CapBnd|Cap...|Uid|Gid|Groups|NoNewPrivs|Seccomp)' /proc/self/status"
			first := p.must(append(append([]string{"run", "--rm"}, strings.Fields(test.options)...), p.desk.busybox, "sh", "-c", look)...)
			p.must(append(append([]string{"run", "-d", "--name", name}, strings.Fields(test.options)...), p.desk.busybox, "sleep", "1000")...)
			further := p.must("exec", name, "sh", "-c", look)
			if !strings.Contains(further, fmt.Sprintf("CapBnd:\t%s\n", test.want)) || further != first {
				t.Errorf("the first one has\n%sand a further one\n%s, want a bounding set of %s", first, further, test.want)
			}
		})
	}
}
