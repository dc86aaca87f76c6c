package supervisor

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// checkpoints returns the directories that there are of checkpoints.
func (r *rig) checkpoints() []string {
	r.t.Helper()
	found, err := filepath.Glob(filepath.Join(r.store.Paths().Sandbox(r.box), "checkpoint-*"))
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

// says has the process write.
func (r *rig) says(text string) {
	r.t.Helper()
	if _, err := io.WriteString(r.vm.stream(guestv1.StreamKind_STREAM_KIND_STDOUT), text); err != nil {
		r.t.Fatal(err)
	}
}

// goesOn fails the test if the container does not run, or has something of a checkpoint.
func (r *rig) goesOn() {
	r.t.Helper()
	c := r.record()
	if c.State != lifecycle.Running || c.Checkpoint != nil {
		r.t.Errorf("it is %s, checkpoint %+v", c.State, c.Checkpoint)
	}
	if left := r.checkpoints(); len(left) > 0 {
		r.t.Errorf("left are %v", left)
	}
	r.vm.mu.Lock()
	defer r.vm.mu.Unlock()
	if r.vm.frozen {
		r.t.Error("its processes stand still")
	}
}

func TestACheckpointEndsTheContainerAndIsOnRecord(t *testing.T) {
	r := newRig(t, func(c *store.Container) { c.AutoRemove = true })
	r.start()
	stdout, err := r.client.OpenStream(r.context(), "", Stdout, false)
	if err != nil {
		t.Fatal(err)
	}
	r.says("last words")
	waited := make(chan Exit, 1)
	go func() {
		exit, err := r.client.Wait(r.context(), "")
		if err != nil {
			t.Error(err)
		}
		waited <- exit
	}()
	if err := r.client.Checkpoint(r.context(), false, false); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(stdout); string(got) != "last words" || err != nil {
		t.Errorf("attached got %q, %v", got, err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	c := r.record() // although it is to be removed at its end
	if c.State != lifecycle.Stopped || c.Exit.Reason != lifecycle.ReasonCheckpointed || c.Checkpoint == nil || c.Checkpoint.Layer {
		t.Errorf("state %s, exit %+v, checkpoint %+v", c.State, c.Exit, c.Checkpoint)
	}
	if left := r.checkpoints(); len(left) != 1 || filepath.Base(left[0]) != c.Checkpoint.Directory {
		t.Errorf("there are %v", left)
	}
	select {
	case exit := <-waited:
		if exit.Reason != "checkpointed" || exit.Code == 0 || !strings.Contains(exit.Message, "vzctl restore web") {
			t.Errorf("exit %+v", exit)
		}
	case <-time.After(20 * time.Second):
		t.Error("wait gives no answer")
	}
}

func TestACheckpointThatFailsLeavesTheContainerRunning(t *testing.T) {
	refusal := &fault.Error{Reason: fault.FailedPrecondition, Op: "freeze container", Cause: errors.New("open connections to others: 2")}
	for _, test := range []struct {
		name, call string
		err        error
		words      string
	}{
		{"the guest refuses", "freeze", refusal, "open connections to others: 2"},
		{"the guest fails", "freeze", errors.New("out of luck"), "out of luck"},
		{"the hypervisor fails", "snapshot", errors.New("no space left"), "no space left"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, nil)
			r.start()
			reading, err := r.client.OpenStream(r.context(), "", Stdout, false)
			if err != nil {
				t.Fatal(err)
			}
			deaf, err := r.client.OpenStream(r.context(), "", Stdout, false) // which is never read from
			if err != nil {
				t.Fatal(err)
			}
			defer deaf.Close()
			stream := r.vm.stream(guestv1.StreamKind_STREAM_KIND_STDOUT)
			go func() { _, _ = io.WriteString(stream, strings.Repeat("x", 1<<20)) }() // until the stream is given back
			got := make(chan []byte, 1)
			go func() { all, _ := io.ReadAll(reading); got <- all }()
			for range 2 {
				r.vm.mu.Lock()
				r.vm.fail[test.call] = test.err
				r.vm.mu.Unlock()
				if err := r.client.Checkpoint(r.context(), false, false); err == nil || !strings.Contains(err.Error(), test.words) {
					t.Fatalf("error %v", err)
				}
				r.goesOn()
			}
			r.vm.mu.Lock()
			delete(r.vm.fail, test.call)
			r.vm.mu.Unlock()
			if err := r.client.Checkpoint(r.context(), false, false); err != nil {
				t.Fatal(err)
			}
			if err := r.ended(); err != nil {
				t.Error(err)
			}
			<-got
			if c := r.record(); c.Checkpoint == nil {
				t.Error("it has no checkpoint")
			}
		})
	}
}

func TestACheckpointIsGivenUpWithItsCallerAndWhenTheContainerIsToStop(t *testing.T) {
	for name, end := range map[string]func(r *rig, cancel func()) error{
		"the caller goes": func(r *rig, cancel func()) error { cancel(); return nil },
		"a stop":          func(r *rig, _ func()) error { return r.client.Stop(r.context(), 15, time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			saving := make(chan struct{})
			r.vm.onSave = func(ctx context.Context) error { close(saving); <-ctx.Done(); return ctx.Err() }
			r.start()
			ctx, cancel := context.WithCancel(r.context())
			defer cancel()
			answered := make(chan error, 1)
			go func() { answered <- r.client.Checkpoint(ctx, false, false) }()
			<-saving
			if err := end(r, cancel); err != nil {
				t.Fatal(err)
			}
			if err := <-answered; err == nil {
				t.Error("it succeeded")
			}
			if name == "the caller goes" {
				r.vm.onSave = nil
				// The next waits for the end of this one.
				if err := r.client.Checkpoint(r.context(), true, false); err != nil {
					t.Error(err)
				}
				if c := r.record(); c.State != lifecycle.Running || c.Checkpoint == nil || !c.Checkpoint.Layer {
					t.Errorf("state %s, checkpoint %+v", c.State, c.Checkpoint)
				}
				r.vm.exits(&guestv1.Exit{})
			}
			if err := r.ended(); err != nil {
				t.Error(err)
			}
			if c := r.record(); c.State != lifecycle.Stopped || c.Exit.Reason == lifecycle.ReasonCheckpointed {
				t.Errorf("state %s, exit %+v", c.State, c.Exit)
			}
		})
	}
}

func TestAContainerThatDoesNotGoOnHasEndedAndSaysWhy(t *testing.T) {
	r := newRig(t, nil)
	r.vm.fail["snapshot"], r.vm.fail["resume"] = errors.New("no space left"), errors.New("QEMU is broken")
	r.start()
	if err := r.client.Checkpoint(r.context(), false, false); err == nil || !strings.Contains(err.Error(), "QEMU is broken") {
		t.Errorf("error %v", err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if c := r.record(); c.State != lifecycle.Stopped || !strings.Contains(c.Exit.Message, "QEMU is broken") || c.Checkpoint != nil {
		t.Errorf("state %s, exit %+v", c.State, c.Exit)
	}
}

// newRestoring is a rig of a container that is being restored from a checkpoint that was made.
func newRestoring(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, nil)
	name, err := r.store.NewCheckpoint(r.box)
	if err == nil {
		err = os.WriteFile(filepath.Join(r.store.Paths().SandboxCheckpoint(r.box, name), "state"), []byte("state"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.s.container, err = r.store.Update(t.Context(), r.id, func(c *store.Container) error {
		c.State, c.Exit = lifecycle.Starting, nil // nobody looks after it yet
		c.Run.Restore = true
		c.Checkpoint = &store.Checkpoint{Directory: name}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARestoreUsesTheCheckpointUp(t *testing.T) {
	r := newRestoring(t)
	r.start()
	if c := r.record(); c.State != lifecycle.Running || c.Checkpoint != nil || c.Run.Restore {
		t.Errorf("state %s, checkpoint %+v, run %+v", c.State, c.Checkpoint, c.Run)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if left := r.checkpoints(); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

func TestARestoreThatFailsBeforeTheVMGoesOnKeepsTheCheckpoint(t *testing.T) {
	for call, kept := range map[string]bool{"restore": true, "resume": false, "dial": false, "adopt": false, "thaw": false} {
		t.Run(call, func(t *testing.T) {
			r := newRestoring(t)
			r.vm.fail[call] = errors.New("out of luck")
			r.serve()
			if err := r.client.Start(r.context()); err == nil { // which may come when the supervisor has gone
				t.Error("it succeeded")
			}
			if err := r.ended(); err == nil {
				t.Error("the supervisor's log says nothing of it")
			}
			if c := r.record(); c.State != lifecycle.Failed || (c.Checkpoint != nil) != kept || !strings.Contains(c.Exit.Message, "out of luck") {
				t.Errorf("state %s, exit %+v, checkpoint %+v", c.State, c.Exit, c.Checkpoint)
			}
		})
	}
}
