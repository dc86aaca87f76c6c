package sandbox

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

func TestAPausedGuestIsNotTakenForAHungOne(t *testing.T) {
	w := newWorld(t)
	w.probing = impatient
	paused := make(chan struct{})
	w.answers = func(ctx context.Context) error {
		select {
		case <-paused:
			return silent(ctx)
		default:
			return nil
		}
	}
	s := w.start()
	if err := s.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(paused)
	hang := make(chan Outcome, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { hang <- s.awaitHang(ctx) }()
	select {
	case outcome := <-hang:
		t.Fatalf("taken for hung: %+v", outcome)
	case <-s.ending:
		t.Fatalf("ended: %+v", s.outcome)
	case <-time.After(20 * impatient.patience):
	}
	if err := s.Unpause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if outcome := w.wait(s); outcome.Reason != GuestHung {
		t.Errorf("a guest that does not answer after the pause either has ended with %+v", outcome)
	}
}

func TestAPauseMayBeginAndEndAgain(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	for range 2 {
		before := time.Now()
		if err := s.Pause(t.Context()); err != nil || !s.Paused() {
			t.Fatalf("paused: %t, %v", s.Paused(), err)
		}
		if _, err := s.CreateProcess(ProcessRequest{}); !errors.Is(err, fault.FailedPrecondition) {
			t.Errorf("a process in a paused container: %v", err)
		}
		if err := s.Unpause(t.Context()); err != nil || s.Paused() {
			t.Fatalf("paused: %t, %v", s.Paused(), err)
		}
		if got := <-w.set; got.Before(before.Truncate(time.Second)) {
			t.Errorf("the guest got the time %s, which is before %s", got, before)
		}
	}
	if err := s.Unpause(t.Context()); err != nil {
		t.Errorf("of one that runs: %v", err)
	}
	w.exits(&guestv1.Exit{Code: 3})
	if outcome := w.wait(s); outcome.Code != 3 {
		t.Errorf("outcome %+v", outcome)
	}
}

func TestAPauseThatFailsLeavesTheVMRunning(t *testing.T) {
	w := newWorld(t)
	w.fail["pause"] = errors.New("no")
	s := w.start()
	if err := s.Pause(t.Context()); err == nil || s.Paused() {
		t.Errorf("paused: %t, %v", s.Paused(), err)
	}
	if !slices.Contains(w.calls, "resume") {
		t.Errorf("calls %q: it may stand still all the same", w.calls)
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func TestAVMThatEndsWhileItIsPausedEndsItsContainer(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	if err := s.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.vmEnds <- &hypervisor.Exit{Reason: hypervisor.Crashed}
	if outcome := w.wait(s); outcome.Reason != VMCrashed {
		t.Errorf("outcome %+v", outcome)
	}
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestAProcessThatHadEndedBeforeThePauseEndsTheContainerAsUsual(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	if err := s.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.exits(&guestv1.Exit{Code: 3}) // as the guest had said before it stood still
	if outcome := w.wait(s); outcome.Reason != Exited || outcome.Code != 3 {
		t.Errorf("outcome %+v", outcome)
	}
	if resumed, shut := slices.Index(w.calls, "resume"), slices.Index(w.calls, "shutdown"); resumed < 0 || shut < resumed {
		t.Errorf("calls %q: a guest that stands still was to shut down", w.calls)
	}
	if err := s.Pause(t.Context()); err == nil {
		t.Error("it was paused again")
	}
}

func TestAGuestWhoseClockIsWrongIsPutRight(t *testing.T) {
	tests := []struct {
		name string
		off  time.Duration
		set  bool
	}{
		{"late, as after a sleep of the host", -time.Hour, true},
		{"early", time.Minute, true},
		{"within what can be told", 10 * time.Millisecond, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.probing = impatient
			probed := make(chan struct{}, 100)
			w.answers = func(context.Context) error {
				select {
				case probed <- struct{}{}:
				default:
				}
				return nil
			}
			w.clock = func() time.Time { return time.Now().Add(test.off) }
			s := w.start()
			for range 3 {
				<-probed
			}
			w.exits(&guestv1.Exit{})
			w.wait(s)
			if set := len(w.set) > 0; set != test.set {
				t.Errorf("set: %t", set)
			}
		})
	}
}

func TestAGuestThatDoesNotTellItsTimeIsLeftWithIt(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	s.keepTime(t.Context(), time.Time{}, time.Now(), time.Now())
	if len(w.set) > 0 {
		t.Error("its clock was set")
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}
