package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reserve returns the supervisor that waits for the next container, once it is one that can be taken.
func (p *person) reserve() int {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // nobody tells
		entries, _ := filepath.Glob(filepath.Join(p.root, "reserve", strings.Repeat("[0-9a-f]", 32)))
		if waiting := p.inReserve(); len(waiting) == 1 && len(entries) == 1 {
			return waiting[0]
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(p.root, "reserve", "log"))
			p.t.Fatalf("in reserve are %v, %q; log: %s", p.inReserve(), entries, log)
		}
	}
}

// gone waits until a process is.
func (p *person) gone(pid int) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); slices.Contains(p.inReserve(), pid); time.Sleep(10 * time.Millisecond) { // nobody tells
		if time.Now().After(deadline) {
			p.t.Fatal("it goes on to wait")
		}
	}
}

// endReserve has the supervisor that waits end.
func (p *person) endReserve() {
	p.t.Helper()
	pid := p.reserve()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	p.gone(pid)
}

// supervisor starts a container, and returns which process looks after it.
func (p *person) supervisor(args ...string) (name string, pid int) {
	p.t.Helper()
	name = p.name()
	p.must(append([]string{"run", "-d", "--name", name}, args...)...)
	c, _ := p.find(name)
	return name, c.PID
}

func TestE2EASupervisorWaitsForTheNextContainer(t *testing.T) {
	p := alone(t)
	p.must("run", "--rm", p.desk.busybox, "true")
	next := p.reserve()
	p.nothingRuns()
	name, pid := p.supervisor(p.desk.busybox, "sleep", "1000")
	if pid != next {
		t.Errorf("process %d looks after the container, and %d was in reserve", pid, next)
	}
	var inspected []struct{ Sandbox string }
	if err := json.Unmarshal([]byte(p.must("inspect", name)), &inspected); err != nil || len(inspected) != 1 {
		t.Fatal(inspected, err)
	}
	if line := p.processes()[pid]; !strings.HasSuffix(line, " "+inspected[0].Sandbox) {
		t.Errorf("a list of processes shows it as %q, without its sandbox", line)
	}
	if another := p.reserve(); another == next {
		t.Error("it waits, and looks after a container")
	}
	if got := p.must("exec", name, "echo", "hello"); got != "hello\n" {
		t.Errorf("exec printed %q", got)
	}
	p.must("restart", name)
	p.must("rm", "-f", name)
	p.nothingRuns()

	// What it has of its user is of the command that has taken it, and not of the one before.
	agent := filepath.Join(t.TempDir(), "agent")
	serve(t, agent, "agent")
	next = p.reserve()
	p.env = append(p.env, "SSH_AUTH_SOCK="+agent)
	name, pid = p.supervisor("--ssh", p.desk.imageWith(t, "echoes"), "sleep", "1000")
	if pid != next {
		t.Errorf("process %d looks after the container with another environment, and %d was in reserve", pid, next)
	}
	if got := p.must("exec", name, "sh", "-c", "echoes use $SSH_AUTH_SOCK agent 1 1000"); got != "ok\n" {
		t.Errorf("the agent is not reached: %q", got)
	}
	p.must("rm", "-f", name)

	// Who has other surroundings has another.
	next = p.reserve()
	p.env = append(p.env, "VZCTL_PLUGIN_PATH=/nowhere")
	if _, pid = p.supervisor(p.desk.busybox, "sleep", "1000"); pid == next {
		t.Error("a supervisor was taken whose plugin has other variables")
	}
}

func TestE2EContainersStartWithoutTheSupervisorInReserve(t *testing.T) {
	p := alone(t)
	p.must("run", "--rm", p.desk.busybox, "true")
	signal := func(s syscall.Signal) func(*person, int) error {
		return func(_ *person, pid int) error { return syscall.Kill(pid, s) }
	}
	for what, end := range map[string]func(q *person, pid int) error{
		"it was killed":            signal(syscall.SIGKILL),
		"it was asked to end":      signal(syscall.SIGTERM),
		"it stands still":          signal(syscall.SIGSTOP),
		"its plugin was killed":    func(q *person, pid int) error { return syscall.Kill(childOf(q.t, pid), syscall.SIGKILL) },
		"it is not there any more": func(q *person, _ int) error { return remove(filepath.Join(q.root, "reserve")) },
	} {
		t.Run(what, func(t *testing.T) {
			q := *p
			q.t = t
			pid := q.reserve()
			run, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", childOf(t, pid))) // where plugins work
			if err != nil {
				t.Fatal(err)
			}
			if err := end(&q, pid); err != nil {
				t.Fatal(err)
			}
			if what != "it stands still" { // then the command ends it
				q.gone(pid)
			}
			name, other := q.supervisor(p.desk.busybox, "sleep", "1000")
			if other == pid {
				t.Error("it looks after a container nevertheless")
			}
			q.must("rm", "-f", name)
			q.gone(pid)
			q.must("run", "--rm", p.desk.busybox, "true")
			q.reserve()
			q.nothingRuns()
			if left, err := os.ReadDir(run); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("in %s there is %v, %v", run, left, err)
			}
		})
	}
	t.Run("none is wanted", func(t *testing.T) {
		q := *p
		q.t = t
		pid := q.reserve()
		if err := os.MkdirAll(filepath.Join(p.root, "config", "vzctl"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p.root, "config", "vzctl", "config.toml"), []byte("reserve = \"off\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		q.must("run", "--rm", p.desk.busybox, "true") // it takes the one that is there
		q.must("run", "--rm", p.desk.busybox, "true")
		q.nothingRuns()
		if left := q.inReserve(); len(left) != 0 {
			t.Errorf("in reserve are %v, and %d was", left, pid)
		}
	})
}

// childOf returns the child of a process.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, err := readParent(child); err == nil && parent == strconv.Itoa(pid) {
			return child
		}
	}
	t.Fatalf("process %d has no child", pid)
	return 0
}
