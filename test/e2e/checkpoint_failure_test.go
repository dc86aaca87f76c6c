package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// saved says whether a container has a checkpoint.
func (p *person) saved(name string) bool {
	p.t.Helper()
	return strings.Contains(p.must("inspect", name), `"checkpoint": {`)
}

// TestE2EKillWhileACheckpointIsMadeLeavesAWholeOneOrNone kills who is at work when the making has come to some point.
func TestE2EKillWhileACheckpointIsMadeLeavesAWholeOneOrNone(t *testing.T) {
	for what, words := range map[string][]string{"command": {" checkpoint "}, "supervisor": {" supervise "}, "plugin": {"plugins/qemu-hypervisor"}, "QEMU": {"qemu-system-"}} {
		t.Run(what, func(t *testing.T) {
			p := alone(t)
			name := p.name()
			p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", counting)
			for _, delay := range []time.Duration{0, 60, 150, 300, 500, 800} {
				delay *= time.Millisecond
				n := p.counted(name)
				p.counts(name, n)
				victim := 0
				if what != "command" {
					victim = p.victim(words...)
				}
				cmd := p.command(context.Background(), "checkpoint", name)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if what == "command" {
					victim = cmd.Process.Pid
				}
				time.Sleep(delay) // some point
				_ = syscall.Kill(victim, syscall.SIGKILL)
				_ = cmd.Wait()
				p.settled(name, what)
			}
			p.must("rm", "-f", name)
			p.nothingRuns()
		})
	}
}

// settled brings a container whose checkpoint was interrupted to run again, whatever has become of it.
func (p *person) settled(name, what string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) { // nobody waits for a command that was killed
		c, _ := p.find(name)
		saved := p.saved(name)
		switch {
		case c.State == "running" && !saved && what == "command":
			// It goes on, or is about to be saved all the same. One more answers both.
			if r := p.vzctl("exec", name, "true"); r.code == 0 {
				return
			}
		case c.State == "stopped" && saved:
			p.must("restore", "-d", name)
			return
		case c.State == "stopped":
			p.must("start", name)
			// Its count begins anew, and so must its log.
			p.must("rm", "-f", name)
			p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", counting)
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("it is %s, saved: %v", c.State, saved)
		}
	}
}

// TestE2EAContainerGoesOnIfThereIsNoRoomForItsCheckpoint has the root on a file system that is full at some point.
func TestE2EAContainerGoesOnIfThereIsNoRoomForItsCheckpoint(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	p := alone(t)
	if err := syscall.Mount("tmpfs", p.root, "tmpfs", 0, "mode=700,size=700m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(p.root, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	name := p.name()
	// Not a clone: to read what is not there of a template's memory takes room of a tmpfs, unlike other file systems.
	p.must("run", "-d", "--name", name, "--hypervisor-opt", "templates=off", p.desk.busybox, "sh", "-c", counting)
	p.counts(name, 3)
	filler := filepath.Join(p.root, "filler")
	for _, left := range []int64{200 << 10, 1 << 20, 20 << 20} {
		var free syscall.Statfs_t
		if err := syscall.Statfs(p.root, &free); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filler, make([]byte, max(0, int64(free.Bavail)*free.Bsize-left)), 0o600); err != nil {
			t.Fatal(err)
		}
		n := p.counted(name)
		p.refuses([]string{"no space left on device"}, "checkpoint", name)
		if c, _ := p.find(name); c.State != "running" {
			t.Fatalf("with %d bytes left it is %+v\n%s%s", left, c, p.must("inspect", name), p.console(nil))
		}
		p.counts(name, n+3)
		p.nothingLeft(name)
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	p.must("checkpoint", name)
	n := p.counted(name)
	p.must("restore", "-d", name)
	p.counts(name, n+3)
}

func TestE2ECtrlCGivesACheckpointUp(t *testing.T) {
	p := alone(t)
	name := p.name()
	p.must("run", "-d", "--name", name, p.desk.busybox, "sh", "-c", counting)
	for _, delay := range []time.Duration{50, 200, 400} {
		n := p.counted(name)
		p.counts(name, n)
		cmd := p.command(context.Background(), "checkpoint", name)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay * time.Millisecond) // some point
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code == 0 {
			p.must("restore", "-d", name)
		} else {
			p.settled(name, "command")
		}
	}
	n := p.counted(name)
	p.counts(name, n+3)
}
