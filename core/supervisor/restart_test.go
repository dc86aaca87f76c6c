package supervisor

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/events"
	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// policy makes a rig whose container has a restart policy, and runs.
func policy(t *testing.T, text string) *rig {
	t.Helper()
	r := newRig(t, func(c *store.Container) { c.Restart.Policy, c.Desired = text, store.DesiredRunning })
	r.start()
	r.begins()
	return r
}

// begins waits until the process has been started once more.
func (r *rig) begins() {
	r.t.Helper()
	select {
	case <-r.vm.begun:
	case <-r.context().Done():
		r.t.Fatal("the process does not begin")
	}
}

// until waits for a record that is so; there is nobody who tells.
func (r *rig) until(what string, so func(store.Container) bool) store.Container {
	r.t.Helper()
	for ctx := r.context(); ; {
		c := r.record()
		if so(c) {
			return c
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("it is not %s but %s, %+v, %+v", what, c.State, c.Restart, c.Exit)
		case <-time.After(time.Millisecond):
		}
	}
}

// inside waits until a call of the supervision's method is being answered.
func (r *rig) inside(method string) {
	r.t.Helper()
	for ctx := r.context(); ; {
		var stacks strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
			r.t.Fatal(err)
		}
		if strings.Contains(stacks.String(), "supervisor.(*supervision)."+method+"(") {
			return
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("nobody is inside %s", method)
		case <-time.After(time.Millisecond):
		}
	}
}

func is(state lifecycle.State) func(store.Container) bool {
	return func(c store.Container) bool { return c.State == state }
}

// stay has the container wait for its next start for longer than any test does.
func (r *rig) stay() {
	r.t.Helper()
	_, err := r.store.Update(r.context(), r.id, func(c *store.Container) error { c.Restart.Delay = time.Hour; return nil })
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestAFailedContainerIsStartedAgainAsOftenAsItsPolicySays(t *testing.T) {
	r := policy(t, "on-failure:2")
	for i := range 2 {
		r.vm.exits(&guestv1.Exit{Code: 3})
		r.begins()
		if c := r.until("running", is(lifecycle.Running)); c.Restart.Count != i+1 || c.Exit != nil {
			t.Errorf("record %+v, %+v", c.Restart, c.Exit)
		}
	}
	r.vm.exits(&guestv1.Exit{Code: 4})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if c := r.record(); c.State != lifecycle.Stopped || c.Exit.Code != 4 || c.Restart.Count != 2 {
		t.Errorf("state %s, exit %+v, %+v", c.State, c.Exit, c.Restart)
	}
}

func TestAContainerThatSucceedsIsDoneUnlessItIsAlwaysToRun(t *testing.T) {
	r := policy(t, "on-failure")
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	r = policy(t, "always")
	r.vm.exits(&guestv1.Exit{})
	r.begins()
	if err := r.client.Stop(r.context(), 15, time.Minute); err != nil {
		t.Error(err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if c := r.record(); c.State != lifecycle.Stopped || c.Exit.Signal != 15 || c.Desired != store.DesiredStopped {
		t.Errorf("after a stop: %s, %+v, desired %q", c.State, c.Exit, c.Desired)
	}
}

func TestWhatEndsAContainerThatWaitsForItsNextStart(t *testing.T) {
	for name, end := range map[string]func(r *rig) error{
		"a stop":         func(r *rig) error { return r.client.Stop(r.context(), 15, time.Minute) },
		"a kill":         func(r *rig) error { return r.client.End(r.context(), 9) },
		"another signal": func(r *rig) error { return r.client.Signal(r.context(), "", 1) },
		"the host's end": func(r *rig) error { r.asked <- syscall.SIGTERM; return nil },
		"a caller's haste": func(r *rig) error {
			// One who stops it in the moment in which it ends.
			return errors.Join(r.client.Stop(r.context(), 15, 0), r.client.Stop(r.context(), 15, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := policy(t, "always")
			r.stay()
			r.vm.exits(&guestv1.Exit{Code: 3})
			waiting := r.until("restarting", is(lifecycle.Restarting))
			if waiting.Exit.Code != 3 || waiting.Restart.NextTry.Before(time.Now()) {
				t.Errorf("while it waits: %+v, %+v", waiting.Exit, waiting.Restart)
			}
			if err := end(r); err != nil && !errors.Is(err, fault.Unavailable) {
				t.Error(err)
			}
			if err := r.ended(); err != nil {
				t.Error(err)
			}
			c := r.record()
			if c.State != lifecycle.Stopped || c.Exit.Code != 3 {
				t.Errorf("state %s, exit %+v", c.State, c.Exit)
			}
			if wanted := name == "the host's end"; wanted != (c.Desired == store.DesiredRunning) {
				t.Errorf("desired %q", c.Desired)
			}
		})
	}
}

func TestASignalThatDoesNotMeanTheEndLeavesItToThePolicy(t *testing.T) {
	r := policy(t, "always")
	if err := r.client.Signal(r.context(), "", 1); err != nil { // of which this process ends
		t.Fatal(err)
	}
	r.begins()
	r.until("running", is(lifecycle.Running))
	if err := r.client.End(r.context(), 9); err != nil {
		t.Fatal(err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if c := r.record(); c.State != lifecycle.Stopped || c.Exit.Signal != 9 {
		t.Errorf("after a kill: %s, %+v", c.State, c.Exit)
	}
}

func TestAStartThatFailsOnTheWayIsTriedAgain(t *testing.T) {
	r := policy(t, "on-failure:1")
	r.vm.mu.Lock()
	r.vm.fail["process"] = errors.New("no room")
	r.vm.mu.Unlock()
	r.vm.exits(&guestv1.Exit{Code: 3})
	if err := r.ended(); err == nil {
		t.Error("the supervisor's log says nothing of it")
	}
	if c := r.record(); c.State != lifecycle.Failed || c.Exit.Code != 125 || !strings.Contains(c.Exit.Message, "no room") || c.Restart.Count != 1 {
		t.Errorf("state %s, exit %+v, %+v", c.State, c.Exit, c.Restart)
	}
}

func TestAContainerWhoseSpecIsGoneIsNotTriedForEver(t *testing.T) {
	r := policy(t, "always")
	if err := os.Remove(r.store.Paths().ContainerSpec(r.id)); err != nil {
		t.Fatal(err)
	}
	r.vm.exits(&guestv1.Exit{Code: 3})
	if err := r.ended(); err == nil {
		t.Error("the supervisor's log says nothing of it")
	}
	if c := r.record(); c.State != lifecycle.Stopped || c.Exit.Code != 125 {
		t.Errorf("state %s, exit %+v", c.State, c.Exit)
	}
}

func TestAFirstStartThatFailsIsItsUsersToTryAgain(t *testing.T) {
	r := newRig(t, func(c *store.Container) { c.Restart.Policy = "always" })
	r.vm.fail["adopt"] = errors.New("the clock is broken")
	r.serve()
	if err := r.client.Start(r.context()); err == nil {
		t.Error("it succeeded")
	}
	if err := r.ended(); err == nil {
		t.Error("the supervisor's log says nothing of it")
	}
	if c := r.record(); c.State != lifecycle.Failed {
		t.Errorf("state %s", c.State)
	}
}

func TestWaitAndAttachEndWithTheRunThatTheyBeganIn(t *testing.T) {
	r := policy(t, "always")
	waited := make(chan Exit, 1)
	go func() {
		exit, err := r.client.Wait(r.context(), "")
		if err != nil {
			t.Error(err)
		}
		waited <- exit
	}()
	r.inside("wait") // one who comes after the end waits for that of the next run
	stdout, err := r.client.OpenStream(r.context(), "", Stdout, false)
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	if _, err := io.WriteString(r.vm.stream(guestv1.StreamKind_STREAM_KIND_STDOUT), "one"); err != nil {
		t.Fatal(err)
	}
	r.vm.exits(&guestv1.Exit{Code: 3})
	if got, err := io.ReadAll(stdout); string(got) != "one" || err != nil {
		t.Errorf("attached got %q, %v", got, err)
	}
	if exit := <-waited; exit.Code != 3 {
		t.Errorf("exit %+v", exit)
	}
	r.begins()
	r.until("running", is(lifecycle.Running))
	if _, err := io.WriteString(r.vm.stream(guestv1.StreamKind_STREAM_KIND_STDOUT), "two"); err != nil {
		t.Fatal(err)
	}
	if err := r.client.Stop(r.context(), 15, time.Minute); err != nil {
		t.Error(err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(r.store.Paths().ContainerLog(r.id))
	if err != nil || !strings.Contains(string(log), "one") || !strings.Contains(string(log), "two") {
		t.Errorf("the log has %q, %v", log, err)
	}
}

func TestWaitDuringAPauseIsForTheNextEnd(t *testing.T) {
	r := policy(t, "always")
	r.vm.exits(&guestv1.Exit{Code: 3})
	r.until("restarting", is(lifecycle.Restarting))
	waited := make(chan Exit, 1)
	go func() {
		for {
			exit, err := r.client.Wait(r.context(), "")
			if err == nil && exit.Code == 3 {
				continue // of the run that has just ended, whose supervision is about to go
			}
			if err != nil {
				t.Error(err)
			}
			waited <- exit
			return
		}
	}()
	r.begins()
	r.until("running", is(lifecycle.Running))
	r.vm.exits(&guestv1.Exit{Code: 4})
	if exit := <-waited; exit.Code != 4 {
		t.Errorf("exit %+v", exit)
	}
	if err := r.client.Stop(r.context(), 15, time.Minute); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestNothingOfARunIsInTheWayOfTheNext(t *testing.T) {
	r := policy(t, "on-failure:1")
	left := filepath.Join(r.s.run, "left.sock")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.vm.exits(&guestv1.Exit{Code: 3})
	r.begins()
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a run has left is there: %v", err)
	}
	r.vm.exits(&guestv1.Exit{Code: 3})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

// waits has the container wait for its next start, and returns once its supervision answers there.
func (r *rig) waits(code int32) {
	r.t.Helper()
	r.stay()
	r.vm.exits(&guestv1.Exit{Code: code})
	r.until("restarting", is(lifecycle.Restarting))
	for ctx := r.context(); ; { // the run before answers a little longer
		if err := r.client.Pause(ctx); err != nil && strings.Contains(err.Error(), "it is starting") {
			return
		}
		if ctx.Err() != nil {
			r.t.Fatal("the supervision of the next run does not answer")
		}
	}
}

func TestWhileAContainerWaitsForItsNextStartOthersMayUseItsVolumes(t *testing.T) {
	r := newRig(t, func(c *store.Container) {
		c.Restart.Policy, c.Desired = "always", store.DesiredRunning
		c.Mounts = []store.Mount{{Type: store.MountVolume, Source: "db", Destination: "/data", Device: "volume0"}}
	})
	all := r.volume("db")
	r.start()
	r.begins()
	r.waits(3)
	held, err := all.Use("db", false, nobody)
	if err != nil {
		t.Fatalf("while it waits: %v", err)
	}
	defer held.Close()
	if err := r.client.Stop(r.context(), 15, time.Minute); err != nil && !errors.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestLimitsThatChangeWhileAContainerWaitsAreThoseOfItsNextStart(t *testing.T) {
	r := policy(t, "always")
	if _, err := r.store.Update(r.context(), r.id, func(c *store.Container) error { c.Restart.Delay = time.Second; return nil }); err != nil {
		t.Fatal(err)
	}
	r.vm.exits(&guestv1.Exit{Code: 3})
	r.until("restarting", is(lifecycle.Restarting))
	if _, err := r.store.UpdateSandbox(r.context(), r.box, func(b *store.Sandbox) error { b.MemoryBytes = 123 << 20; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.store.Rename(r.context(), r.id, "site", func(c *store.Container) error {
		c.Resources.IO = []store.IOLimit{{Path: store.RootPath, WriteBytes: 1 << 20}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r.begins()
	if got := r.vm.memory(); got != 123<<20 {
		t.Errorf("its VM has %d bytes of memory", got)
	}
	if got := r.vm.ioLimits(); len(got) != 1 || got[0].WriteBytes != 1<<20 {
		t.Errorf("its disks have the limits %v", got)
	}
	if err := r.client.Stop(r.context(), 15, time.Minute); err != nil {
		t.Error(err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	var starts []string
	if err := r.s.events.Read(time.Time{}, func(e events.Event) error {
		if e.Action == "start" {
			starts = append(starts, e.Name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(starts, []string{"web", "site"}) {
		t.Errorf("the events of its starts name it %q", starts)
	}
}

func TestAProcessThatEndsWithItsHostIsAskedAsItWantsToBe(t *testing.T) {
	r := newRig(t, func(c *store.Container) { c.Process.StopSignal = "USR1" })
	r.start()
	r.asked <- syscall.SIGTERM
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if c := r.record(); c.Exit == nil || c.Exit.Signal != 10 {
		t.Errorf("exit %+v", c.Exit)
	}
	minute := 60
	for _, test := range []struct {
		process store.Process
		signal  int
		timeout time.Duration
	}{
		{store.Process{}, 15, 10 * time.Second},
		{store.Process{StopSignal: "SIGRTMIN+3", StopSeconds: &minute}, 37, time.Minute},
		{store.Process{StopSignal: "what an image says"}, 15, 10 * time.Second},
	} {
		signal, timeout := wayToEnd(test.process)
		if signal != test.signal || timeout != test.timeout {
			t.Errorf("%+v: signal %d, %s", test.process, signal, timeout)
		}
	}
}
