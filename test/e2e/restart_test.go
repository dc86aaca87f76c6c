package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// inspected is what these tests read of inspect.
type inspected struct {
	State         string
	Reason        string
	ExitCode      *int
	RestartPolicy string
	RestartCount  int
}

func (p *person) inspect(name string) inspected {
	p.t.Helper()
	var all []inspected
	if err := json.Unmarshal([]byte(p.must("inspect", name)), &all); err != nil || len(all) != 1 {
		p.t.Fatalf("%v, %d containers", err, len(all))
	}
	return all[0]
}

// becomes waits until inspect shows what is wanted; events would tell, but not to a person without them.
func (p *person) becomes(name, what string, so func(inspected) bool) inspected {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		c := p.inspect(name)
		if so(c) {
			return c
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s is not %s but %+v%s", name, what, c, p.console(nil))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestE2EAContainerThatFailsIsStartedAgainWithWhatItHasWritten(t *testing.T) {
	p := me(t)
	name := p.name()
	// It fails twice, and then ends well.
	program := `echo run >>/runs; n=$(wc -l </runs); echo "run $n"; [ $n -gt 2 ] || exit 7`
	if r := p.vzctl("run", "--name", name, "--restart", "on-failure:5", p.desk.busybox, "sh", "-c", program); r.code != 7 || r.stdout != "run 1\n" {
		t.Errorf("the first run, in the foreground: %d, %q, %s", r.code, r.stdout, r.stderr)
	}
	c := p.becomes(name, "stopped", func(c inspected) bool { return c.State == "stopped" })
	if c.RestartCount != 2 || c.RestartPolicy != "on-failure:5" || c.ExitCode == nil || *c.ExitCode != 0 {
		t.Errorf("inspect says %+v", c)
	}
	if got := p.must("logs", name); got != "run 1\nrun 2\nrun 3\n" {
		t.Errorf("the log has %q", got)
	}
	if r := p.vzctl("run", "--rm", "--restart", "always", p.desk.busybox, "true"); r.code != 125 || !strings.Contains(r.stderr, "--rm or --restart") {
		t.Errorf("--rm with --restart: %d, %s", r.code, r.stderr)
	}
}

func TestE2EAVMThatCrashesIsStartedAgainUntilItsUserStopsIt(t *testing.T) {
	p := alone(t)
	name := p.name()
	p.must("run", "-d", "--name", name, "--restart", "unless-stopped", p.desk.busybox, "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
	kill9(t, p.victim("qemu-system-"))
	p.becomes(name, "running again", func(c inspected) bool { return c.State == "running" && c.RestartCount == 1 })
	if out := p.must("exec", name, "echo", "here"); out != "here\n" {
		t.Errorf("exec printed %q", out)
	}
	p.must("stop", name)
	var told []string
	for line := range strings.Lines(p.must("events", "--since", "1h", "--until", "0s", "--filter", "container="+name, "--format", "json")) {
		var e struct {
			Action     string
			Attributes map[string]string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(e.Action, "responsive") {
			continue // the host is busy
		}
		told = append(told, strings.TrimSpace(e.Action+" "+e.Attributes["exitCode"]))
	}
	if got := strings.Join(told, ", "); got != "create, start, die 137, start, exec_start, exec_die 0, die 0, stop" {
		t.Errorf("events tell %s", got)
	}
	if c := p.inspect(name); c.State != "stopped" || c.ExitCode == nil || *c.ExitCode != 0 {
		t.Errorf("after a stop: %+v", c)
	}
	p.nothingRuns()
	// One that ends at once waits longer and longer, and is removed at once all the same.
	hasty := p.name()
	p.must("run", "-d", "--name", hasty, "--restart", "always", p.desk.busybox, "false")
	p.becomes(hasty, "restarting", func(c inspected) bool { return c.State == "restarting" && c.RestartCount > 1 })
	if out := p.must("ls"); !strings.Contains(out, "restarting (1)") && !strings.Contains(out, "starting") && !strings.Contains(out, "running") {
		t.Errorf("ls shows\n%s", out)
	}
	p.must("rm", "-f", hasty)
	if _, found := p.find(hasty); found {
		t.Error("it is still there")
	}
	p.nothingRuns()
}

func TestE2EWhoRunsAfterTheHostsBoot(t *testing.T) {
	p := alone(t)
	kept, ended, always := p.name(), p.name(), p.name()
	for name, policy := range map[string]string{kept: "unless-stopped", ended: "unless-stopped", always: "always"} {
		p.must("run", "-d", "--name", name, "--restart", policy, "--network", "none", p.desk.busybox, "sleep", "1000")
	}
	p.must("stop", "-t", "0", ended, always)
	// The host goes down, and comes up again.
	if out := p.must("system", "autostop"); out != kept+"\n" {
		t.Errorf("autostop says %q", out)
	}
	for _, name := range []string{kept, ended, always} {
		p.reboot(name)
	}
	started := strings.Fields(p.must("system", "autostart"))
	slices.Sort(started)
	if want := []string{kept, always}; !slices.Equal(started, slices.Sorted(slices.Values(want))) {
		t.Errorf("autostart says %q, want %q", started, want)
	}
	for name, want := range map[string]string{kept: "running", ended: "stopped", always: "running"} {
		if c := p.inspect(name); c.State != want {
			t.Errorf("%s, %s is %s", name, c.RestartPolicy, c.State)
		}
	}
	if out := p.must("system", "autostart"); out != "" {
		t.Errorf("a second time it starts %q", out)
	}
}
