package e2e

import (
	"strings"
	"testing"
	"time"
)

// cgroup returns the limits that the container's kernel has.
func (p *person) cgroup(name string) string {
	p.t.Helper()
	return strings.Join(strings.Fields(p.must("exec", name, "sh", "-c", "cd /sys/fs/cgroup; cat memory.max pids.max cpu.weight cpuset.cpus.effective cpu.max")), " ")
}

func TestE2EAContainerIsRenamedUpdatedSignalledAndRestarted(t *testing.T) {
	p := me(t)
	old, name := p.name(), p.name()
	id := strings.TrimSpace(p.must("run", "-d", "--name", old, "-m", "128m", "--stop-signal", "QUIT", p.desk.busybox, "sh", "-c",
		"trap 'echo real-time' 37; trap 'echo user' USR1; trap 'exit 3' QUIT; echo begun; while :; do sleep 0.1; done"))

	p.must("rename", old, name)
	if r := p.vzctl("inspect", old); r.code == 0 {
		t.Error("it is found by its old name")
	}
	if c, ok := p.find(name); !ok || c.ID != id || c.State != "running" {
		t.Errorf("ls shows %+v", c)
	}
	if r := p.vzctl("rename", name, name+"/x"); r.code != 125 {
		t.Errorf("rename to what is no name: exit code %d, %q", r.code, r.stderr)
	}

	p.must("update", "-m", "64m", "--cpus", "0.5", "--pids-limit", "50", "--cpu-shares", "2", "--cpuset-cpus", "0", name)
	const small = "67108864 50 1 0 50000 100000"
	if got := p.cgroup(name); got != small {
		t.Errorf("limits %q, want %q", got, small)
	}
	for says, args := range map[string][]string{
		"memory of 1024 MiB is more than the 128 MiB that its VM was started with; stop it first": {"-m", "1g"},
		"2 CPUs are more than the 1 that its VM was started with; stop it first":                  {"--pids-limit", "7", "--cpus", "2"},
		"the VM has 1, counted from 0":   {"--cpuset-cpus", "1"},
		"memory alone":                   {"--memory-swap", "1m"},
		"are too little for a container": {"-m", "1m"},
		"there is no such signal":        nil,
		"they are not from 2 to 262144":  {"--cpu-shares", "1", "--pids-limit", "7"},
	} {
		r := p.vzctl(append(append([]string{"update"}, args...), name)...)
		if args == nil {
			r = p.vzctl("kill", "-s", "NONE", name)
		}
		if r.code == 0 || !strings.Contains(r.stderr, says) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, %q", args, r.code, r.stderr)
		}
	}
	if got := p.cgroup(name); got != small {
		t.Errorf("limits after refusals %q", got)
	}
	// Memory that is in use is not taken away: its processes would be killed for it.
	p.must("exec", name, "sh", "-c", "dd if=/dev/zero of=/dev/shm/held bs=1M count=40 2>/dev/null")
	if r := p.vzctl("update", "-m", "32m", name); r.code == 0 || !strings.Contains(r.stderr, "MiB of memory, which is more than 32 MiB") {
		t.Errorf("update below what is used: exit code %d, %q", r.code, r.stderr)
	}
	if got := p.cgroup(name); got != small {
		t.Errorf("limits after refusals %q", got)
	}

	// One after the other: a shell runs traps between its commands.
	for said, signal := range map[string]string{"real-time": "RTMIN+3", "user": "10"} {
		p.must("kill", "-s", signal, name)
		p.awaitLog(name, said+"\n")
	}

	p.must("restart", "-t", "60", name)
	p.awaitLog(name, "\nbegun\n")
	if got := p.cgroup(name); got != small {
		t.Errorf("limits of the second run %q", got)
	}
	p.must("stop", name)
	if got := p.must("wait", name, name); got != "3\n3\n" { // of the image's own signal it would not have ended so
		t.Errorf("wait printed %q", got)
	}

	// The next VM of one that is stopped is as large as it must be.
	p.must("update", "-m", "160m", "--pids-limit", "-1", name)
	p.must("restart", name)
	if got := p.cgroup(name); got != "167772160 max 1 0 50000 100000" {
		t.Errorf("limits %q", got)
	}
}

// awaitLog waits until the container has said it.
func (p *person) awaitLog(name, said string) {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if strings.Contains(p.must("logs", name), said) {
			return
		}
	}
	p.t.Errorf("it does not say %q", said)
}

func TestE2EAContainerThatIsRemovedAtItsEndIsRestartedWithItsFiles(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--rm", "--name", name, p.desk.busybox, "sleep", "1000")
	p.must("exec", name, "sh", "-c", "echo mine > /kept")
	p.must("restart", "-t", "0", name)
	if told := p.must("events", "--since", "1h", "--until", "0s", "-f", "container="+name, "-f", "event=restart"); strings.Count(told, "\n") != 1 {
		t.Errorf("events tell %q", told)
	}
	if got := p.must("exec", name, "cat", "/kept"); got != "mine\n" {
		t.Errorf("its file has %q", got)
	}
	p.must("stop", "-t", "0", name)
	p.nothingRuns()
	if c, ok := p.find(name); ok {
		t.Errorf("after its end ls shows %+v", c)
	}
}
