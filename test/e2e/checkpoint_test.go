package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// counting is a program that counts in its memory, says each number to its output and a file, and answers questions of others by that.
const counting = `i=0; while :; do i=$((i+1)); echo $i; echo $i >/count; sleep 0.05; done`

// counted returns the numbers that a container's log has, and fails if one is missing or doubled.
func (p *person) counted(name string) int {
	p.t.Helper()
	lines := strings.Fields(p.must("logs", name))
	for i, line := range lines {
		if line != strconv.Itoa(i+1) {
			p.t.Fatalf("line %d of the log is %q", i+1, line)
		}
	}
	return len(lines)
}

// counts waits until the container has counted to more than n.
func (p *person) counts(name string, n int) int {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		if got := p.counted(name); got > n {
			return got
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not count%s", name, p.console(nil))
		}
		time.Sleep(100 * time.Millisecond) // the program does
	}
}

// reboot takes away all that does not outlive the host's uptime.
func (p *person) reboot() {
	p.t.Helper()
	p.nothingRuns()
	runs, err := filepath.Glob("/run/vzctl/*")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, dir := range runs {
		if _, err := os.Lstat(filepath.Join(dir, "supervisor")); os.IsNotExist(err) {
			continue
		}
		p.t.Errorf("a stopped container has %s", dir)
	}
}

func TestE2EACheckpointedContainerGoesOnWhereItWas(t *testing.T) {
	p := me(t)
	for name, flags := range map[string][]string{"one CPU": nil, "three CPUs": {"--cpus", "3"}, "without network": {"--network", "none"}} {
		t.Run(name, func(t *testing.T) {
			p := p.desk.person(t, p.root)
			name := p.name()
			p.must(append(append([]string{"run", "-d", "--name", name}, flags...), p.desk.busybox, "sh", "-c", counting)...)
			p.counts(name, 5)
			before, _ := p.find(name)
			if out := p.must("checkpoint", name); out != name+"\n" {
				t.Errorf("checkpoint printed %q", out)
			}
			reached := p.counted(name)
			c, _ := p.find(name)
			if c.State != "stopped" || c.Reason != "checkpointed" || c.ExitCode != nil || len(c.Addresses) > 0 {
				t.Errorf("ls says %+v", c)
			}
			p.reboot()
			begun := time.Now().Unix()
			if out := p.must("restore", "-d", name); out != name+"\n" {
				t.Errorf("restore printed %q", out)
			}
			now := p.counts(name, reached+5)
			after, _ := p.find(name)
			if after.State != "running" || strings.Join(after.Addresses, " ") != strings.Join(before.Addresses, " ") {
				t.Errorf("before it was %+v, and is %+v", before, after)
			}
			count, err := strconv.Atoi(strings.TrimSpace(p.must("exec", name, "cat", "/count")))
			if err != nil || count < now {
				t.Errorf("the file says %d, %v, after %d", count, err, now)
			}
			clock, err := strconv.ParseInt(strings.TrimSpace(p.must("exec", name, "date", "+%s")), 10, 64)
			if err != nil || clock < begun || clock > time.Now().Unix() {
				t.Errorf("the clock says %d, %v; it is between %d and %d", clock, err, begun, time.Now().Unix())
			}
			// Once more, which what was restored can be.
			p.must("checkpoint", name)
			reached = p.counted(name)
			p.must("restore", "-d", name)
			p.counts(name, reached+5)
			if r := p.vzctl("restore", "-d", name); r.code == 0 || !strings.Contains(r.stderr, "it is running; stop it first") {
				t.Errorf("a second restore: %d, %s", r.code, r.stderr)
			}
			p.must("stop", "-t", "1", name)
			if r := p.vzctl("restore", "-d", name); r.code == 0 || !strings.Contains(r.stderr, "it has no checkpoint") {
				t.Errorf("a restore without a checkpoint: %d, %s", r.code, r.stderr)
			}
			if r := p.vzctl("start", name); r.code != 0 {
				t.Errorf("a start afterwards: %d, %s", r.code, r.stderr)
			}
			p.nothingLeft(name)
		})
	}
}

// nothingLeft fails if there is anything of a checkpoint of a container that has none.
func (p *person) nothingLeft(name string) {
	p.t.Helper()
	left, err := filepath.Glob(filepath.Join(p.root, "sandboxes", p.sandbox(name), "checkpoint-*"))
	if err != nil || len(left) > 0 {
		p.t.Errorf("left are %v, %v", left, err)
	}
}

// sandbox returns the id of a container's sandbox.
func (p *person) sandbox(name string) string {
	p.t.Helper()
	text := p.must("inspect", name)
	_, rest, _ := strings.Cut(text, `"sandbox": "`)
	id, _, _ := strings.Cut(rest, `"`)
	if len(id) != 32 {
		p.t.Fatalf("inspect says %s", text)
	}
	return id
}
