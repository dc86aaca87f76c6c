package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestE2ESignals sends signals in all ways they are written to a shell that notes them.
func TestE2ESignals(t *testing.T) {
	p := me(t)
	name := p.name()
	sent := []struct {
		text   string
		number int
	}{
		{"HUP", 1}, {"SIGINT", 2}, {"3", 3}, {"usr1", 10}, {"SIGUSR2", 12}, {"14", 14}, {"TERM", 15}, {"winch", 28}, {"PWR", 30},
		{"RTMIN", 34}, {"SIGRTMIN+3", 37}, {"50", 50}, {"rtmax-4", 60}, {"RTMAX", 64},
	}
	var script strings.Builder
	script.WriteString("cd /tmp; ")
	for _, s := range sent {
		fmt.Fprintf(&script, "trap 'echo %d >>got' %d; ", s.number, s.number)
	}
	script.WriteString("echo ready; while :; do sleep 1000 & wait; kill $! 2>/dev/null; done")
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", script.String())
	p.must("exec", name, "sh", "-c", "until grep -q . /proc/1/status && [ -e /proc/1/task/1/children ] && [ -n \"$(cat /proc/1/task/1/children)\" ]; do sleep 0.05; done")
	var want []string
	for _, s := range sent {
		p.must("kill", "-s", s.text, name)
		want = append(want, strconv.Itoa(s.number))
	}
	got := strings.Fields(p.must("exec", name, "sh", "-c", fmt.Sprintf("cd /tmp; until [ $(wc -l <got) -ge %d ]; do sleep 0.05; done; cat got", len(want))))
	slices.Sort(want)
	slices.Sort(got) // two that are there at once come in the kernel's order
	if !slices.Equal(got, want) {
		t.Errorf("it got %v, want %v", got, want)
	}
	for _, none := range []string{"NOSUCH", "0", "65", "RTMIN+31", "-1"} {
		if r := p.vzctl("kill", "-s", none, name); r.code != 1 && r.code != 125 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, none) {
			t.Errorf("signal %q: exit code %d, stderr %q; want one line that names it", none, r.code, r.stderr)
		}
	}
	if c, _ := p.find(name); c.State != "running" {
		t.Errorf("it is %s after signals that there are not", c.State)
	}
	p.must("kill", name)
	if got := p.must("wait", name); got != "137\n" {
		t.Errorf("wait printed %q after SIGKILL", got)
	}
	if r := p.vzctl("kill", name); r.code == 0 || !strings.Contains(r.stderr, "stopped") {
		t.Errorf("kill of a stopped container: exit code %d, %q", r.code, r.stderr)
	}
}
