package supervisor

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/events"
	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

func TestAPausedContainerIsOnRecordAndRefusesWhatNeedsItsGuest(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	if err := r.client.Pause(r.context()); err != nil {
		t.Fatal(err)
	}
	if state := r.record().State; state != lifecycle.Paused {
		t.Errorf("state %s", state)
	}
	const refused = "it is paused; unpause it first"
	_, execErr := r.client.CreateProcess(r.context(), ProcessRequest{Args: []string{"true"}})
	for verb, err := range map[string]error{
		"pause":      r.client.Pause(r.context()),
		"exec":       execErr,
		"signal":     r.client.Signal(r.context(), "", 15),
		"checkpoint": r.client.Checkpoint(r.context(), false, false),
	} {
		if !errors.Is(err, fault.FailedPrecondition) || !strings.Contains(err.Error(), refused) {
			t.Errorf("%s: %v", verb, err)
		}
	}
	if err := r.client.Unpause(r.context()); err != nil {
		t.Fatal(err)
	}
	if state := r.record().State; state != lifecycle.Running {
		t.Errorf("state %s", state)
	}
	if err := r.client.Unpause(r.context()); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("of one that runs: %v", err)
	}
	r.vm.exits(&guestv1.Exit{Code: 3})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(events.Log{Path: r.store.Paths().Events()}.Path)
	if err != nil || !strings.Contains(string(text), `"pause"`) || !strings.Contains(string(text), `"unpause"`) {
		t.Errorf("the event log has %q, %v", text, err)
	}
}

func TestAStopOfAPausedContainerLetsItGoOnFirst(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	if err := r.client.Pause(r.context()); err != nil {
		t.Fatal(err)
	}
	if err := r.client.Stop(r.context(), 15, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if c := r.record(); c.State != lifecycle.Stopped || c.Exit.Signal != 15 {
		t.Errorf("state %s, exit %+v", c.State, c.Exit)
	}
}

func TestWhoWaitsForAPausedContainerIsTold(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	waited := make(chan Exit, 1)
	go func() {
		exit, err := r.client.Wait(r.context(), "")
		if err != nil {
			t.Error(err)
		}
		waited <- exit
	}()
	if err := errors.Join(r.client.Pause(r.context()), r.client.Unpause(r.context())); err != nil {
		t.Fatal(err)
	}
	r.vm.exits(&guestv1.Exit{Code: 3})
	if exit := <-waited; exit.Code != 3 {
		t.Errorf("exit %+v", exit)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestAGuestThatDoesNotTakeTheTimeGoesOnAllTheSame(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	if err := r.client.Pause(r.context()); err != nil {
		t.Fatal(err)
	}
	r.vm.mu.Lock()
	r.vm.fail["adopt"] = errors.New("no")
	r.vm.mu.Unlock()
	if err := r.client.Unpause(r.context()); err == nil || !strings.Contains(err.Error(), "goes on with the time") {
		t.Errorf("error %v", err)
	}
	if state := r.record().State; state != lifecycle.Running {
		t.Errorf("state %s", state)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestAContainerThatIsRestartedIsNotRemovedBetween(t *testing.T) {
	r := newRig(t, func(c *store.Container) { c.AutoRemove = true })
	r.start()
	waited := make(chan Exit, 1)
	go func() {
		exit, err := r.client.Wait(r.context(), "")
		if err != nil {
			t.Error(err)
		}
		waited <- exit
	}()
	if err := r.client.StopToRestart(r.context(), 15, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if c := r.record(); c.State != lifecycle.Stopped {
		t.Errorf("state %s", c.State)
	}
	if exit := <-waited; !exit.Kept {
		t.Errorf("who waits would remove it: %+v", exit)
	}
	if !r.vm.asked("shutdown") {
		t.Error("its files were not written out")
	}
}
