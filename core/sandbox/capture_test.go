package sandbox

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// captured is what Capture has answered.
type captured struct {
	outcome Outcome
	output  string
	err     error
}

// capture begins one, and returns the process once it is in the guest.
func (w *world) capture(ctx context.Context, s *Sandbox) (*execution, <-chan captured) {
	done := make(chan captured, 1)
	go func() {
		outcome, output, err := s.Capture(ctx, []byte("{}"), "", 10)
		done <- captured{outcome, string(output), err}
	}()
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		process := w.exec["exec1"]
		ready := process != nil && len(process.streams) == 2
		w.mu.Unlock()
		if ready {
			return process, done
		}
		if time.Since(begun) > 30*time.Second {
			w.t.Fatal("no process is made")
		}
	}
}

func TestACaptureIsTheBeginningOfBothStreamsAndTheExitCode(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	process, done := w.capture(t.Context(), s)
	for _, kind := range []guestv1.StreamKind{guestv1.StreamKind_STREAM_KIND_STDOUT, guestv1.StreamKind_STREAM_KIND_STDERR} {
		if _, err := io.WriteString(process.streams[kind], strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
	}
	process.exits()
	if got := <-done; got.err != nil || got.outcome.Code != 7 || got.output != "xxxxxxxxxx" {
		t.Errorf("%+v", got)
	}
	soon(t, "forgotten in the guest", process.deleted)
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func TestACaptureWhoseTimeIsUpIsKilled(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	late := errors.New("late")
	ctx, cancel := context.WithCancelCause(t.Context())
	process, done := w.capture(ctx, s)
	if _, err := io.WriteString(process.streams[guestv1.StreamKind_STREAM_KIND_STDOUT], "so far"); err != nil {
		t.Fatal(err)
	}
	cancel(late)
	if got := <-done; !errors.Is(got.err, late) {
		t.Errorf("%+v", got)
	}
	soon(t, "killed", process.ended)
	soon(t, "forgotten in the guest", process.deleted)
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func TestACaptureEndsWithTheContainer(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	process, done := w.capture(t.Context(), s)
	w.exits(&guestv1.Exit{})
	<-s.ending
	process.exits()
	if got := <-done; !errors.Is(got.err, errEnded) {
		t.Errorf("%+v", got)
	}
	w.wait(s)
}

func TestWhatAProcessHasStartedDoesNotHoldUpItsCapture(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	process, done := w.capture(t.Context(), s)
	close(process.ended) // and its output stays open
	if got := <-done; got.err != nil || got.outcome.Code != 7 {
		t.Errorf("%+v", got)
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}
