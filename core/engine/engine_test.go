package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
)

func create(t *testing.T, e *Engine, name string) Container {
	t.Helper()
	c, err := e.Create(t.Context(), request(name), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// nothingLeft checks that no container, sandbox or name is on the disk.
func nothingLeft(t *testing.T, e *Engine) {
	t.Helper()
	for _, dir := range []string{e.store.Paths().Containers(), e.store.Paths().Sandboxes(), e.store.Paths().Names()} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 0 {
			t.Errorf("in %s: %v, %v", dir, entries, err)
		}
	}
}

func TestACreatedContainerHasAllThatAStartNeeds(t *testing.T) {
	e := newEngine(t)
	c := create(t, e, "web")
	if c.Name != "web" || c.State != "created" || c.ExitCode != nil || strings.Join(c.Args, " ") != "sh" {
		t.Errorf("container %+v", c)
	}
	record, err := e.store.Find("web")
	if err != nil || len(record.Disks) != 1 || record.Layer.Path == "" {
		t.Errorf("record %+v, %v", record, err)
	}
	b, err := e.store.GetSandbox(record.Sandbox)
	if err != nil || b.Kernel.Path != "/boot/vmlinux" || !strings.HasSuffix(b.Hypervisor, "qemu-hypervisor") || b.MemoryBytes <= record.Resources.MemoryBytes {
		t.Errorf("sandbox %+v, %v", b, err)
	}
	if err := e.Remove(t.Context(), "web", false); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, e)
}

func TestACreateThatFailsLeavesNothing(t *testing.T) {
	for word, says := range map[string]string{
		"pull-fails":     "told to fail",
		"build-fails":    "told to fail",
		"build-crashes":  "ended before it answered",
		"layer-fails":    "told to fail",
		"kernel-fails":   "told to fail",
		"disk-elsewhere": "does not lie under",
		"disk-is-a-link": "",
		"foreign-arch":   "amd64",
	} {
		t.Run(word, func(t *testing.T) {
			e := newEngine(t)
			t.Setenv(script, word)
			_, err := e.Create(t.Context(), request("web"), nil)
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("error %v, should say %q", err, says)
			}
			nothingLeft(t, e)
			if err := os.Unsetenv(script); err != nil {
				t.Fatal(err)
			}
			if word != "disk-is-a-link" { // which stays in the builder's cache
				create(t, e, "web")
			}
		})
	}
}

func TestARequestThatMakesNoSenseIsRefusedBeforeAnyPluginRuns(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*CreateRequest)
		reason fault.Reason
	}{
		"a name with bad characters":  {func(r *CreateRequest) { r.Name = "../x" }, fault.Invalid},
		"too little memory":           {func(r *CreateRequest) { r.MemoryBytes = 1 << 20 }, fault.Invalid},
		"memory beyond any host":      {func(r *CreateRequest) { r.MemoryBytes = 1<<64 - 1 }, fault.Invalid},
		"an unknown restart policy":   {func(r *CreateRequest) { r.Restart = "often" }, fault.Invalid},
		"removed and restarted":       {func(r *CreateRequest) { r.Restart, r.AutoRemove = "always", true }, fault.Invalid},
		"an unknown network":          {func(r *CreateRequest) { r.Network = "moon" }, fault.NotFound},
		"an unknown capability":       {func(r *CreateRequest) { r.Isolation.CapAdd = []string{"FLY"} }, fault.Invalid},
		"a sysctl of the machine":     {func(r *CreateRequest) { r.Isolation.Sysctls = map[string]string{"kernel.panic": "1"} }, fault.Invalid},
		"a profile that is none":      {func(r *CreateRequest) { r.SeccompProfile = []byte("x") }, fault.Invalid},
		"an argument that is no text": {func(r *CreateRequest) { r.Command = []string{"cat", "\xff"} }, fault.Invalid},
		"a variable that is no text":  {func(r *CreateRequest) { r.Env = []string{"A=\xff"} }, fault.Invalid},
		"a directory that is no text": {func(r *CreateRequest) { r.WorkingDir = "/\xff" }, fault.Invalid},
		"a label that is no text":     {func(r *CreateRequest) { r.Labels = map[string]string{"a": "\xff"} }, fault.Invalid},
		"a kernel that is no text":    {func(r *CreateRequest) { r.Kernel = "/\xff" }, fault.Invalid},
		"a socket at a relative path": {func(r *CreateRequest) { r.Sockets = []store.Socket{{Host: "s", Container: "/s"}} }, fault.Invalid},
		"a socket that is the root":   {func(r *CreateRequest) { r.Sockets = []store.Socket{{Host: "/s", Container: "/"}} }, fault.Invalid},
		"two sockets at one path": {func(r *CreateRequest) {
			r.Sockets = []store.Socket{{Host: "/a", Container: "/s"}, {Host: "/b", Container: "/s"}}
		}, fault.Invalid},
		"a socket where the SSH agent's is": {func(r *CreateRequest) {
			r.SSH, r.Sockets = true, []store.Socket{{Host: "/a", Container: "/run/host-services/ssh-auth.sock"}}
		}, fault.Invalid},
		"more sockets than a guest has": {func(r *CreateRequest) { r.Sockets = make([]store.Socket, 64) }, fault.Invalid},
		"a socket with a set-uid bit": {func(r *CreateRequest) {
			mode := uint32(0o4700)
			r.Sockets = []store.Socket{{Host: "/a", Container: "/s", Mode: &mode}}
		}, fault.Invalid},
		"a host name with a space":  {func(r *CreateRequest) { r.Hostname = "my host" }, fault.Invalid},
		"a host name of two lines":  {func(r *CreateRequest) { r.Hostname = "a\n1.2.3.4 b" }, fault.Invalid},
		"a host name of 65 letters": {func(r *CreateRequest) { r.Hostname = strings.Repeat("x", 65) }, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			e.host = nil // would panic
			r := request("web")
			test.change(&r)
			if _, err := e.Create(t.Context(), r, nil); !errors.Is(err, test.reason) {
				t.Errorf("error %v", err)
			}
			nothingLeft(t, e)
		})
	}
}

func TestWhatIsNoTextIsNotExecuted(t *testing.T) {
	e := newEngine(t)
	for name, r := range map[string]ExecRequest{
		"an argument": {Args: []string{"cat", "\xff"}}, "a variable": {Args: []string{"env"}, Env: []string{"A=\xff"}},
		"a directory": {Args: []string{"pwd"}, WorkingDir: "/\xff"}, "a user": {Args: []string{"id"}, User: "\xff"},
	} {
		if _, err := e.Exec(t.Context(), "web", r, Streams{}); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestAProfileOfSystemCallsIsMadeReadyAtCreate(t *testing.T) {
	for _, test := range []struct {
		name     string
		change   func(*CreateRequest)
		filtered bool
	}{
		{"the default", func(*CreateRequest) {}, true},
		{"the user's", func(r *CreateRequest) { r.SeccompProfile = []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`) }, true},
		{"none", func(r *CreateRequest) { r.SeccompUnconfined = true }, false},
		{"none for who may do all", func(r *CreateRequest) { r.Isolation.Privileged = true }, false},
		{"the user's for who may do all", func(r *CreateRequest) {
			r.Isolation.Privileged, r.SeccompProfile = true, []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEngine(t)
			r := request("web")
			test.change(&r)
			c, err := e.Create(t.Context(), r, nil)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := e.InspectOCI("web")
			if err != nil || (spec.Linux.Seccomp != nil) != test.filtered {
				t.Errorf("the spec has %+v, %v", spec.Linux.Seccomp, err)
			}
			text, err := os.ReadFile(e.store.Paths().ContainerFilter(c.ID))
			if (err == nil && len(text) > 4) != test.filtered {
				t.Errorf("the filter has %d bytes, %v", len(text), err)
			}
			if kept, err := os.ReadFile(e.store.Paths().ContainerSpec(c.ID)); err != nil || strings.Contains(string(kept), "seccomp") {
				t.Errorf("what the guest is told has the rules too (%v)", err)
			}
		})
	}
}

func TestANameIsTakenOnce(t *testing.T) {
	e := newEngine(t)
	create(t, e, "web")
	if _, err := e.Create(t.Context(), request("web"), nil); !errors.Is(err, fault.AlreadyExists) {
		t.Errorf("error %v", err)
	}
}

func TestAnUnknownHypervisorIsNamedAndLeavesNothing(t *testing.T) {
	e := newEngine(t)
	r := request("web")
	r.Plugins = map[sdk.Kind]string{sdk.Hypervisor: "bochs"}
	if _, err := e.Create(t.Context(), r, nil); !errors.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "bochs") {
		t.Errorf("error %v", err)
	}
	nothingLeft(t, e)
}

func TestAPluginThatCannotStartIsStartedOnce(t *testing.T) {
	e := newEngine(t)
	dir := t.TempDir()
	broken, starts := filepath.Join(dir, "broken"), filepath.Join(dir, "starts")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho start >>"+starts+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := request("web")
	r.Plugins = map[sdk.Kind]string{sdk.Hypervisor: broken}
	if _, err := e.Create(t.Context(), r, nil); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("error %v", err)
	}
	// A plugin that hangs is waited for each time.
	if got, err := os.ReadFile(starts); err != nil || string(got) != "start\n" {
		t.Errorf("starts: %q, %v", got, err)
	}
	nothingLeft(t, e)
}

func TestACancelledCreateLeavesNothing(t *testing.T) {
	e := newEngine(t)
	create(t, e, "first") // so that the image is there
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Create(ctx, request("web"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := e.Remove(t.Context(), "first", false); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, e)
}

func TestAStartWhoseSupervisorCannotRunFailsAndMayBeTriedAgain(t *testing.T) {
	e := newEngine(t)
	create(t, e, "web")
	for range 2 {
		if _, err := e.Start(t.Context(), "web"); err == nil || !strings.Contains(err.Error(), "no-vzctl") {
			t.Errorf("error %v", err)
		}
		if c, err := e.Inspect(t.Context(), "web"); err != nil || c.State != "failed" || *c.ExitCode != 125 {
			t.Errorf("container %+v, %v", c, err)
		}
	}
}

// abandoned makes a container that its record says runs, and that nobody looks after.
func abandoned(t *testing.T, e *Engine, state lifecycle.State) {
	t.Helper()
	c := create(t, e, "web")
	if _, err := e.store.Update(t.Context(), c.ID, func(c *store.Container) error { c.State = state; return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestVerbsOnAContainerWhoseSupervisorWasKilled(t *testing.T) {
	for _, state := range []lifecycle.State{lifecycle.Creating, lifecycle.Starting, lifecycle.Running, lifecycle.Stopping} {
		t.Run(string(state), func(t *testing.T) {
			e := newEngine(t)
			abandoned(t, e, state)
			if state == lifecycle.Creating {
				if err := e.Remove(t.Context(), "web", false); err != nil {
					t.Errorf("remove: %v", err)
				}
				nothingLeft(t, e)
				return
			}
			if exit, err := e.Wait(t.Context(), "web"); err != nil || exit.Reason != "lost" {
				t.Errorf("wait: %+v, %v", exit, err)
			}
			if err := e.Stop(t.Context(), "web", StopOptions{}); err != nil {
				t.Errorf("stop: %v", err)
			}
			if err := e.Kill(t.Context(), "web", "TERM"); !errors.Is(err, fault.FailedPrecondition) {
				t.Errorf("kill: %v", err)
			}
			if err := e.Remove(t.Context(), "web", false); err != nil {
				t.Errorf("remove: %v", err)
			}
			nothingLeft(t, e)
		})
	}
}

// begun makes a container that another command is about to start: it holds the lock, and there is no supervisor yet.
func begun(t *testing.T, e *Engine) (id string, giveUp func()) {
	t.Helper()
	c := create(t, e, "web")
	held, err := e.store.LockContainer(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.store.Update(t.Context(), c.ID, func(c *store.Container) error { return c.Advance(lifecycle.Start) }); err != nil {
		t.Fatal(err)
	}
	return c.ID, func() {
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestStopAndForcedRemoveWaitForAStartThatHasNoSupervisorYet(t *testing.T) {
	for name, verb := range map[string]func(e *Engine, ctx context.Context) error{
		"stop":          func(e *Engine, ctx context.Context) error { return e.Stop(ctx, "web", StopOptions{}) },
		"forced remove": func(e *Engine, ctx context.Context) error { return e.Remove(ctx, "web", true) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			_, giveUp := begun(t, e)
			short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := verb(e, short); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("while it is being started: %v", err)
			}
			giveUp()
			if err := verb(e, t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// TestStopAndForcedRemoveWaitForASupervisorThatIsLeaving is of one that was made for a start whose command was killed: it removes its sockets, and ends.
func TestStopAndForcedRemoveWaitForASupervisorThatIsLeaving(t *testing.T) {
	for name, verb := range map[string]func(e *Engine, ctx context.Context) error{
		"stop":          func(e *Engine, ctx context.Context) error { return e.Stop(ctx, "web", StopOptions{}) },
		"forced remove": func(e *Engine, ctx context.Context) error { return e.Remove(ctx, "web", true) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			id, giveUp := begun(t, e)
			giveUp()
			c, err := e.store.Get(id)
			if err != nil {
				t.Fatal(err)
			}
			life, err := lock.Try(e.store.Paths().SandboxLife(c.Sandbox))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.store.UpdateSandbox(t.Context(), c.Sandbox, func(b *store.Sandbox) error { b.RuntimeDir = t.TempDir(); return nil }); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- verb(e, t.Context()) }()
			select {
			case err := <-ended:
				t.Errorf("it does not wait: %v", err)
				_ = life.Close()
			case <-time.After(100 * time.Millisecond): // which it would not, if it did not wait
				if err := errors.Join(life.Close(), <-ended); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestAContainerThatRemovesItselfWhileItIsRemovedByForceIsNoError(t *testing.T) {
	e := newEngine(t)
	c := create(t, e, "web")
	held, err := e.store.LockContainer(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	removed := make(chan error, 1)
	go func() { removed <- e.Remove(t.Context(), c.ID, true) }()
	if err := errors.Join(e.store.RemoveSandbox(t.Context(), c.Sandbox), e.store.Remove(t.Context(), c.ID), held.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-removed; err != nil && !errors.Is(err, fault.NotFound) { // not found, if it was gone before it was looked for
		t.Error(err)
	}
	nothingLeft(t, e)
}

func TestADamagedRecordIsRemovedByForceOnly(t *testing.T) {
	e := newEngine(t)
	c := create(t, e, "web")
	if err := os.WriteFile(e.store.Paths().ContainerRecord(c.ID), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := e.List(t.Context()); err != nil || len(all) != 1 || all[0].State != "broken" {
		t.Errorf("listed %+v, %v", all, err)
	}
	if err := e.Remove(t.Context(), c.ID, false); err == nil {
		t.Error("removed without force")
	}
	if err := e.Remove(t.Context(), c.ID, true); err != nil {
		t.Errorf("by force: %v", err)
	}
	if all, err := e.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("left %+v, %v", all, err)
	}
}

func TestWhatIsShownOfARecord(t *testing.T) {
	e := newEngine(t)
	exit := &store.Exit{Code: 143, Signal: 15, Reason: lifecycle.ReasonKilled, Time: time.Unix(1, 0)}
	run := &store.Run{Asked: time.Unix(0, 0), Started: time.Unix(1, 0), PID: 7}
	for name, test := range map[string]struct {
		record store.Container
		code   bool
		pid    int
	}{
		"one that never ran has no code":             {store.Container{State: lifecycle.Created}, false, 0},
		"one that runs has a supervisor, no code":    {store.Container{State: lifecycle.Running, Run: run}, false, 7},
		"one that runs again has not its old code":   {store.Container{State: lifecycle.Running, Run: run, Exit: exit}, false, 7},
		"one that has ended has a code, and no more": {store.Container{State: lifecycle.Stopped, Run: run, Exit: exit}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := e.view(test.record)
			if (v.ExitCode != nil) != test.code || v.PID != test.pid {
				t.Errorf("code %v, pid %d", v.ExitCode, v.PID)
			}
			if test.code && (*v.ExitCode != 143 || v.Reason != "killed" || v.Finished == nil || exitOf(test.record) != (Exit{Code: 143, Signal: 15, Reason: "killed", Time: time.Unix(1, 0)})) {
				t.Errorf("shown as %+v", v)
			}
		})
	}
}

func TestTheLastLinesOfAConsole(t *testing.T) {
	for _, test := range []struct {
		text  string
		lines int
		want  string
	}{
		{"a\nb\nc\n", 2, "b\nc\n"}, {"a\nb\nc", 2, "b\nc"}, {"a\nb\n", 9, "a\nb\n"}, {"a\n", 0, ""}, {"", 3, ""}, {"\n\n", 1, "\n"}, {"a", 1, "a"},
	} {
		path := filepath.Join(t.TempDir(), "console.log")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var shown strings.Builder
		if err := copyConsole(t.Context(), &shown, path, "", test.lines); err != nil {
			t.Error(err)
		}
		if got := shown.String(); got != test.want {
			t.Errorf("%d of %q: %q, want %q", test.lines, test.text, got, test.want)
		}
	}
}

func TestAStartThatWasKilledBeforeItHadASupervisorMayBeTriedAgain(t *testing.T) {
	e := newEngine(t)
	abandoned(t, e, lifecycle.Starting)
	if _, err := e.Start(t.Context(), "web"); err == nil || !strings.Contains(err.Error(), "no-vzctl") {
		t.Errorf("error %v, want that of the supervisor", err)
	}
}
