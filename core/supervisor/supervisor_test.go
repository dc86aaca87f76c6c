package supervisor

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

func TestAStartThatSucceedsIsOnRecordWhenItIsAnswered(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	c := r.record()
	if c.State != lifecycle.Running || c.Run.PID != os.Getpid() || c.Run.Accelerator != "tcg" || len(c.Run.Timeline) == 0 {
		t.Errorf("record %+v, run %+v", c, c.Run)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestAStartThatFailsIsOnRecordWithItsReasonAndLeavesNothing(t *testing.T) {
	r := newRig(t, nil)
	r.vm.fail["adopt"] = errors.New("the clock is broken")
	r.serve()
	if err := r.client.Start(r.context()); err == nil || !strings.Contains(err.Error(), "the clock is broken") {
		t.Errorf("error %v", err)
	}
	if err := r.ended(); err == nil {
		t.Error("the supervisor's log says nothing of it")
	}
	c := r.record()
	if c.State != lifecycle.Failed || c.Exit.Code != 125 || !strings.Contains(c.Exit.Message, "the clock is broken") {
		t.Errorf("state %s, exit %+v", c.State, c.Exit)
	}
}

func TestACallerThatGoesBeforeTheProcessRunsTakesTheStartBack(t *testing.T) {
	r := newRig(t, nil)
	ctx, cancel := context.WithCancel(r.context())
	r.vm.onAdopt = cancel
	r.serve()
	if err := r.client.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := r.ended(); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if c := r.record(); c.State.Active() {
		t.Errorf("state %s", c.State)
	}
}

func TestAStopBeforeTheGoAheadLetsNothingRun(t *testing.T) {
	r := newRig(t, nil)
	r.serve()
	if err := r.client.Stop(r.context(), 15, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if c := r.record(); c.State.Active() || c.Run.PID != 0 {
		t.Errorf("state %s, run %+v", c.State, c.Run)
	}
}

func TestAbandonWorksForACallerWhoseTimeIsUp(t *testing.T) {
	r := newRig(t, nil)
	r.serve()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.client.Abandon(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestWaitAnswersOnceTheEndIsOnRecord(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	waited := make(chan Exit, 1)
	go func() {
		exit, err := r.client.Wait(r.context(), "")
		if err != nil {
			t.Error(err)
		}
		if c, err := r.store.Get(r.id); err != nil || c.State != lifecycle.Stopped || c.Exit.Code != 3 {
			t.Errorf("on record at the answer: %s, %+v, %v", c.State, c.Exit, err)
		}
		waited <- exit
	}()
	r.vm.exits(&guestv1.Exit{Code: 3})
	if exit := <-waited; exit.Code != 3 || exit.Reason != "exited" {
		t.Errorf("exit %+v", exit)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestAContainerThatIsRemovedAtItsEndIsGoneWhenWaitAnswers(t *testing.T) {
	r := newRig(t, func(c *store.Container) { c.AutoRemove = true })
	r.serve()
	answer := r.client.AskEnd(r.context())
	if err := r.client.Start(r.context()); err != nil {
		t.Fatal(err)
	}
	r.vm.exits(&guestv1.Exit{Code: 3})
	// Its supervisor is gone before anybody looks at the answer, which was asked for before the start was answered.
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if _, err := r.store.Get(r.id); !errors.Is(err, fault.NotFound) {
		t.Errorf("its record: %v", err)
	}
	if exit, err := answer(); err != nil || exit.Code != 3 {
		t.Errorf("%+v, %v", exit, err)
	}
}

func TestAQuestionForTheEndIsTakenBack(t *testing.T) {
	r := newRig(t, nil)
	r.serve()
	asking, leave := context.WithCancel(r.context())
	answer := r.client.AskEnd(asking)
	if err := r.client.Start(r.context()); err != nil {
		t.Fatal(err)
	}
	leave()
	if _, err := answer(); !errors.Is(err, context.Canceled) {
		t.Errorf("answered with %v", err)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestNobodyWaitsForTheVMOfAContainerThatIsRemovedAtItsEnd(t *testing.T) {
	r := newRig(t, func(c *store.Container) { c.AutoRemove = true })
	answered := make(chan struct{})
	r.vm.onClose = func() { <-answered }
	r.start()
	r.vm.exits(&guestv1.Exit{Code: 3})
	if exit, err := r.client.Wait(r.context(), ""); err != nil || exit.Code != 3 {
		t.Errorf("%+v, %v", exit, err)
	}
	if _, err := r.store.Resolve("web"); !errors.Is(err, fault.NotFound) {
		t.Errorf("its name: %v", err)
	}
	select {
	case err := <-r.done:
		t.Errorf("its supervisor has ended before its VM: %v", err)
	default:
	}
	close(answered)
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestStreamsAttachedBeforeTheStartGetEverything(t *testing.T) {
	r := newRig(t, func(c *store.Container) { c.Process.StdinOpen = true })
	r.serve()
	stdout, err := r.client.OpenStream(r.context(), "", Stdout, false)
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := r.client.OpenStream(r.context(), "", Stdin, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stdin, "typed"); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	if err := r.client.Start(r.context()); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r.vm.stream(guestv1.StreamKind_STREAM_KIND_STDIN)); string(got) != "typed" || err != nil {
		t.Errorf("the process read %q, %v", got, err)
	}
	if _, err := io.WriteString(r.vm.stream(guestv1.StreamKind_STREAM_KIND_STDOUT), "first words"); err != nil {
		t.Fatal(err)
	}
	r.vm.exits(&guestv1.Exit{})
	if got, err := io.ReadAll(stdout); string(got) != "first words" || err != nil {
		t.Errorf("attached got %q, %v", got, err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestOneWhoIsAttachedAndSilentKeepsNoSupervisor(t *testing.T) {
	r := newRig(t, func(c *store.Container) { c.Process.StdinOpen = true })
	r.start()
	idle, err := r.client.OpenStream(r.context(), "", Stdin, false)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestUnknownProcessesAndStreamsAreRefused(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	ctx := r.context()
	if _, err := r.client.OpenStream(ctx, "exec9", Stdout, false); err == nil || !strings.Contains(err.Error(), "no such process") {
		t.Errorf("stream: %v", err)
	}
	if _, err := r.client.OpenStream(ctx, "", 9, false); err == nil || !strings.Contains(err.Error(), "no such stream") {
		t.Errorf("stream 9: %v", err)
	}
	if err := r.client.StartProcess(ctx, "exec9"); !errors.Is(err, fault.NotFound) {
		t.Errorf("start: %v", err)
	}
	if _, err := r.client.Wait(ctx, "exec9"); !errors.Is(err, fault.NotFound) {
		t.Errorf("wait: %v", err)
	}
	if err := r.client.DeleteProcess(ctx, "exec9"); err != nil {
		t.Errorf("delete, which is idempotent: %v", err)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestSIGTERMStopsTheContainer(t *testing.T) {
	for name, before := range map[string]func(r *rig){
		"that runs":               func(r *rig) { r.start() },
		"before it has begun":     func(r *rig) { r.asked <- syscall.SIGTERM; r.serve() },
		"that waits for a caller": func(r *rig) { r.serve() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			before(r)
			select {
			case r.asked <- syscall.SIGTERM:
			default:
			}
			if err := r.ended(); err != nil {
				t.Error(err)
			}
			if c := r.record(); c.State.Active() {
				t.Errorf("state %s", c.State)
			}
		})
	}
}

func TestAStopGoesOnWhenItsCallerIsKilled(t *testing.T) {
	r := newRig(t, nil)
	r.vm.ignores[15] = true
	r.start()
	ctx, kill := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- r.client.Stop(ctx, 15, 100*time.Millisecond) }()
	for r.record().State == lifecycle.Running { // the request has arrived when the record says so
	}
	kill()
	<-stopped
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if c := r.record(); c.State != lifecycle.Stopped || c.Exit.Signal != sigkill {
		t.Errorf("state %s, exit %+v", c.State, c.Exit)
	}
}

func TestWhatHappensToAContainerIsInTheEventLog(t *testing.T) {
	r := newRig(t, func(c *store.Container) { c.AutoRemove = true })
	r.start()
	r.vm.exits(&guestv1.Exit{Code: 3})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if told := r.told(); !slices.Equal(told, []string{"start", "die", "destroy"}) {
		t.Errorf("told are %q", told)
	}
}

func TestARuntimeDirectoryOfADamagedRecordIsNotRemoved(t *testing.T) {
	r := newRig(t, nil)
	precious := t.TempDir()
	b, err := r.store.UpdateSandbox(t.Context(), r.box, func(b *store.Sandbox) error { b.RuntimeDir = precious; return nil })
	if err != nil {
		t.Fatal(err)
	}
	run, err := makeRun(t.Context(), r.store, b)
	if err != nil || run == precious {
		t.Fatalf("%q, %v", run, err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}
