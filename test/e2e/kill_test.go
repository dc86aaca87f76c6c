package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// victim finds the one process of a root whose command line has all words.
func (p *person) victim(words ...string) int {
	p.t.Helper()
	for pid, line := range p.processes() {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			return pid
		}
	}
	p.t.Fatalf("no process with %q among %v", words, p.processes())
	return 0
}

func kill9(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// TestE2EKillMatrix kills each process of a running container in turn. Who kills the VM, or what owns it, ends the container with the right reason; who kills the
// network does not.
func TestE2EKillMatrix(t *testing.T) {
	tests := []struct {
		name   string
		victim []string
		reason string // "" means that the container goes on
	}{
		{"supervisor", []string{" supervise "}, "lost"},
		{"hypervisor plugin", []string{"plugins/qemu-hypervisor"}, "vm-crashed"},
		{"QEMU", []string{"qemu-system-"}, "vm-crashed"},
		{"network daemon", []string{" netd "}, ""},
		{"network plugin", []string{"plugins/user-network"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := alone(t)
			name := p.name()
			p.must("run", "-d", "--name", name, p.desk.busybox, "sleep", "1000")
			before, _ := p.find(name)
			kill9(t, p.victim(test.victim...))
			if test.reason == "" {
				p.networkComesBack(name, before)
				return
			}
			if got := p.must("wait", name); got != "137\n" {
				t.Errorf("wait printed %q", got)
			}
			c, _ := p.find(name)
			if c.State != "stopped" || c.Reason != test.reason || c.ExitCode == nil || *c.ExitCode != 137 {
				t.Errorf("ls shows %+v, want it stopped, %s", c, test.reason)
			}
			p.nothingRuns()
			// The next command works.
			p.must("start", name)
			if got := p.must("exec", name, "echo", "back"); got != "back\n" {
				t.Errorf("after a new start exec printed %q", got)
			}
			p.must("rm", "-f", name)
			p.nothingRuns()
		})
	}
}

// networkComesBack waits until the container reaches its gateway again, at the address it had.
func (p *person) networkComesBack(name string, before container) {
	p.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		r := p.vzctl("exec", name, "sh", "-c", "ping -c 1 -W 1 $(ip route | awk '/default/ {print $3}')")
		if r.code == 0 {
			break
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("no network after a minute: %s %s", r.stdout, r.stderr)
		}
	}
	c, _ := p.find(name)
	if c.State != "running" || len(c.Addresses) != 2 || strings.Join(c.Addresses, " ") != strings.Join(before.Addresses, " ") {
		p.t.Errorf("ls shows %+v, before %+v", c, before)
	}
	if address := p.must("exec", name, "sh", "-c", "ip -4 addr show eth0 | awk '/inet/ {print $2}'"); strings.TrimSpace(address) != before.Addresses[0] {
		p.t.Errorf("the container has %q, before %q", address, before.Addresses[0])
	}
	p.must("rm", "-f", name)
	p.nothingRuns()
}

func TestE2EKillingTheCommandLineLeavesADetachedContainer(t *testing.T) {
	p := me(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sleep", "1000")
	c, _ := p.find(name)
	if parent := parentOf(t, c.PID); parent == syscall.Getpid() {
		t.Errorf("the supervisor %d is our own child", c.PID)
	}
	if got := p.must("exec", name, "echo", "alive"); got != "alive\n" {
		t.Errorf("exec printed %q", got)
	}
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	ppid, err := readParent(pid)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(ppid)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestE2EKillingTheCommandLineInTheMiddleLeavesNothingThatCannotBeRemoved kills a run at many moments: with the supervisor's process made and not yet needed, among others. What is on record
// then can be removed at once, and nothing runs on.
func TestE2EKillingTheCommandLineInTheMiddleLeavesNothingThatCannotBeRemoved(t *testing.T) {
	p := alone(t)
	p.must("run", "--rm", p.desk.busybox, "true") // later ones take the short way
	for _, after := range []time.Duration{5, 12, 18, 25, 40, 100} {
		t.Run((after * time.Millisecond).String(), func(t *testing.T) {
			q := *p
			q.t = t
			cmd := p.command(t.Context(), "run", "--rm", p.desk.busybox, "sleep", "1000")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(after * time.Millisecond) // the moment is what is tried
			kill9(t, cmd.Process.Pid)
			_ = cmd.Wait() // killed
			for _, id := range strings.Fields(q.must("ls", "-aq")) {
				q.must("rm", "-f", id)
			}
			q.nothingRuns()
			if left := q.must("ls", "-aq"); left != "" {
				t.Errorf("left container %s", left)
			}
			if left, err := os.ReadDir(filepath.Join(p.root, "sandboxes")); err != nil || len(left) > 0 {
				t.Errorf("left sandboxes %v, %v", left, err)
			}
		})
	}
}
