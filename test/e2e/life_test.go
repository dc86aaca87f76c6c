package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestE2EADetachedLife(t *testing.T) {
	p := me(t)
	name := p.name()
	id := strings.TrimSpace(p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c",
		"trap 'echo asked; exit 7' TERM; echo up; echo oops >&2; while :; do sleep 0.1; done"))
	c, ok := p.find(name)
	if !ok || c.State != "running" || c.ID != id || c.ExitCode != nil || c.PID == 0 || len(c.Addresses) != 2 {
		t.Fatalf("ls shows %+v", c)
	}
	if got := p.must("exec", name, "echo", "inside"); got != "inside\n" {
		t.Errorf("exec printed %q", got)
	}
	if r := p.vzctl("exec", name, "sh", "-c", "exit 5"); r.code != 5 {
		t.Errorf("exec has exit code %d, stderr %s", r.code, r.stderr)
	}
	if r := p.vzctlWith("to be read", "exec", "-i", name, "cat"); r.stdout != "to be read" {
		t.Errorf("exec -i printed %q, stderr %s", r.stdout, r.stderr)
	}
	if r := p.vzctl("exec", name, "no-such"); r.code != 127 {
		t.Errorf("exec of nothing has exit code %d, stderr %s", r.code, r.stderr)
	}
	if got := p.must("exec", "-e", "X=1", "-w", "/tmp", "-u", "app", name, "sh", "-c", "echo $X $(pwd) $(id -un)"); got != "1 /tmp app\n" {
		t.Errorf("exec printed %q", got)
	}
	if got := p.must("exec", name, "cat", "/proc/1/comm"); got != "sh\n" {
		t.Errorf("exec sees process 1 as %q", got)
	}
	if r := p.vzctl("rm", name); r.code == 0 || !strings.Contains(r.stderr, "running") {
		t.Errorf("rm of a running container: exit code %d, %q", r.code, r.stderr)
	}
	if r := p.vzctl("start", name); r.code == 0 || !strings.Contains(r.stderr, "running") {
		t.Errorf("start of a running container: exit code %d, %q", r.code, r.stderr)
	}
	p.must("stop", name)
	p.must("stop", name) // nothing to do
	if c, _ := p.find(name); c.State != "stopped" || c.ExitCode == nil || *c.ExitCode != 7 || c.Reason != "exited" {
		t.Errorf("after stop ls shows %+v", c)
	}
	r := p.vzctl("logs", name)
	if r.stdout != "up\nasked\n" || r.stderr != "oops\n" {
		t.Errorf("logs: stdout %q, stderr %q", r.stdout, r.stderr)
	}
	if got := p.must("wait", name); got != "7\n" {
		t.Errorf("wait printed %q", got)
	}
	p.nothingRuns()

	// Again, with what it wrote still there.
	p.must("start", name)
	if got := p.must("exec", name, "echo", "again"); got != "again\n" {
		t.Errorf("exec printed %q", got)
	}
	p.must("kill", name)
	if got := p.must("wait", name); got != "137\n" {
		t.Errorf("wait after kill printed %q", got)
	}
	if c, _ := p.find(name); c.Reason != "killed" {
		t.Errorf("after kill ls shows %+v", c)
	}
	p.must("rm", name)
	if _, ok := p.find(name); ok {
		t.Error("still listed after rm")
	}
	if r := p.vzctl("rm", name); r.code == 0 {
		t.Error("rm of what is gone succeeded")
	}
}

func TestE2EFilesOutliveAStop(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "--name", name, p.desk.busybox, "sh", "-c", "if [ -f /kept ]; then cat /kept; else echo first > /kept; fi")
	p.must("start", name)
	p.must("wait", name)
	if got := p.must("logs", name); got != "first\n" {
		t.Errorf("the second run printed %q", got)
	}
}

func TestE2EAttach(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "-i", "--name", name, p.desk.busybox, "sh", "-c", "read line; echo got $line; exit 3")
	r := p.vzctlWith("hello\n", "attach", name)
	if r.stdout != "got hello\n" || r.code != 3 {
		t.Errorf("stdout %q, exit code %d, stderr %s", r.stdout, r.code, r.stderr)
	}
}

func TestE2EStartAttached(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("create", "--name", name, p.desk.busybox, "sh", "-c", "echo started; exit 9")
	if c, _ := p.find(name); c.State != "created" {
		t.Errorf("ls shows %+v", c)
	}
	if r := p.vzctl("start", "-a", name); r.stdout != "started\n" || r.code != 9 {
		t.Errorf("stdout %q, exit code %d, stderr %s", r.stdout, r.code, r.stderr)
	}
}

func TestE2EInspect(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("create", "--name", name, "--label", "a=b", "-m", "256m", p.desk.busybox, "true")
	var all []map[string]any
	if err := json.Unmarshal([]byte(p.must("inspect", name)), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0]["name"] != name || all[0]["memoryBytes"] != float64(256<<20) {
		t.Errorf("inspect printed %v", all)
	}
}

func TestE2EATerminal(t *testing.T) {
	p := me(t)
	r := p.vzctl("run", "--rm", "-t", p.desk.busybox, "sh", "-c", "tty; echo $TERM; test -c /dev/console && echo console")
	if r.code != 0 || !strings.Contains(r.stdout, "/dev/pts/0\r\nxterm\r\nconsole\r\n") {
		t.Errorf("stdout %q, stderr %q, exit code %d", r.stdout, r.stderr, r.code)
	}
}
