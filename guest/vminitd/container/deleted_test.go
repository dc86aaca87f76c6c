package container

import (
	"context"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/cgroup"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
	"github.com/vzctl/vzctl/guest/vminitd/reap"
)

// TestAProcessThatIsDeletedWhileItStartsEndsOnce has what a deletion of its container does come between the two halves of a start.
func TestAProcessThatIsDeletedWhileItStartsEndsOnce(t *testing.T) {
	for name, starts := range map[string]bool{"and runs": true, "and cannot be started": false} {
		t.Run(name, func(t *testing.T) {
			r := &Runtime{watchers: map[chan Event]bool{}}
			p, err := newProcess(&Container{runtime: r, group: &cgroup.Group{}}, "p", helper.Config{Process: sampleProcess()}, true)
			if err != nil {
				t.Fatal(err)
			}
			if !p.beginStart() {
				t.Fatal("it cannot be started")
			}
			p.delete()
			if p.ended() {
				t.Error("it has ended before anybody knows whether it runs")
			}
			if starts {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				reaper := reap.New()
				go reaper.Run(ctx)
				child, err := reaper.Start(func() (int, error) { return forkTrue() })
				if err != nil {
					t.Fatal(err)
				}
				<-child.Done()
				p.mu.Lock()
				p.child = child
				p.mu.Unlock()
				p.reapAtEnd(child, 0)
			}
			p.endStart()
			if !p.ended() || starts != (p.exit.Signal != unix.SIGKILL) {
				t.Errorf("its end: %+v", p.exit)
			}
			if p.beginStart() {
				t.Error("it can be started once more")
			}
		})
	}
}

func sampleProcess() *specs.Process { return &specs.Process{Args: []string{"true"}, Cwd: "/"} }

func forkTrue() (int, error) {
	return syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
}
