package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ended waits for the end of a container, and returns what inspect says of it.
func (p *person) ended(name string) (reason, message string) {
	p.t.Helper()
	if got := p.must("wait", name); got != "137\n" {
		p.t.Errorf("wait printed %q", got)
	}
	var all []struct{ Reason, Message string }
	if err := json.Unmarshal([]byte(p.must("inspect", name)), &all); err != nil || len(all) != 1 {
		p.t.Fatalf("inspect shows %v, %v", all, err)
	}
	return all[0].Reason, all[0].Message
}

func TestE2EMemoryThatAContainerLacksIsItsOwnMatter(t *testing.T) {
	p := alone(t)
	name := p.name()
	p.must("run", "-d", "--name", name, "-m", "48m", p.desk.busybox, "sleep", "1000")
	// A further process is killed; the container, and what runs the machine, go on.
	if r := p.vzctl("exec", name, "tail", "/dev/zero"); r.code != 137 {
		t.Errorf("exec has exit code %d, %q", r.code, r.stderr)
	}
	if got := p.must("exec", name, "echo", "on"); got != "on\n" {
		t.Errorf("exec printed %q", got)
	}
	p.awaitEvent("oom")
	p.must("rm", "-f", name)

	last := p.name()
	p.must("run", "-d", "--name", last, "-m", "48m", p.desk.busybox, "sh", "-c", "tail /dev/zero; exit $?")
	if reason, message := p.ended(last); reason != "oom" || !strings.Contains(message, "memory") {
		t.Errorf("it ended: %s, %q", reason, message)
	}
}

// unresponsive returns what inspect says of a guest that does not answer, and nothing if it does.
func (p *person) unresponsive(name string) string {
	p.t.Helper()
	var all []struct{ Unresponsive struct{ Message string } }
	if err := json.Unmarshal([]byte(p.must("inspect", name)), &all); err != nil || len(all) != 1 {
		p.t.Fatalf("inspect shows %v, %v", all, err)
	}
	return all[0].Unresponsive.Message
}

// awaitEvent waits until something is in the event log.
func (p *person) awaitEvent(action string) {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		text, err := os.ReadFile(filepath.Join(p.root, "events.log"))
		if err != nil {
			p.t.Fatal(err)
		}
		if strings.Contains(string(text), `"action":"`+action+`"`) {
			return
		}
		p.must("ls") // takes its time
	}
	p.t.Errorf("the event log does not have %q", action)
}

func TestE2EAGuestThatPanicsOrHangsSaysSo(t *testing.T) {
	t.Run("panic", func(t *testing.T) {
		p := alone(t)
		name := p.name()
		p.must("run", "-d", "--name", name, "--privileged", "-m", "48m", p.desk.busybox, "sh", "-c",
			"mount -o remount,rw /proc/sys 2>/dev/null; echo 2 > /proc/sys/vm/panic_on_oom; exec tail /dev/zero")
		if reason, message := p.ended(name); reason != "guest-panic" || !strings.Contains(message, "Kernel panic - not syncing: Out of memory") {
			t.Errorf("it ended: %s, %q", reason, message)
		}
		p.nothingRuns()
	})
	t.Run("hang", func(t *testing.T) {
		p := alone(t)
		name := p.name()
		p.must("run", "-d", "--name", name, "--privileged", p.desk.imageWith(t, "stuck"), "sleep", "1000")
		qemu := p.victim("qemu-system-")
		// A VM that stands still for a while is told of, and goes on.
		if err := syscall.Kill(qemu, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		p.awaitEvent("unresponsive")
		if out := p.must("ls"); !strings.Contains(out, "running (unresponsive)") {
			t.Errorf("ls shows %q", out)
		}
		if why := p.unresponsive(name); !strings.Contains(why, "is stopped by a signal") {
			t.Errorf("inspect says %q", why)
		}
		if err := syscall.Kill(qemu, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		p.awaitEvent("responsive")
		if why := p.unresponsive(name); why != "" {
			t.Errorf("it goes on, and inspect says %q", why)
		}
		if got := p.must("exec", name, "echo", "on"); got != "on\n" {
			t.Errorf("exec printed %q", got)
		}
		// One whose guest runs in circles, and does not stop, is ended.
		p.must("exec", "-d", name, "stuck", "circles")
		if reason, message := p.ended(name); reason != "guest-hung" || !strings.Contains(message, "has not answered") || !strings.Contains(message, "its VM is busy") {
			t.Errorf("it ended: %s, %q", reason, message)
		}
		p.nothingRuns()
	})
}
