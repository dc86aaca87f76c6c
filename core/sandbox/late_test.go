package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

var said = &guestv1.Output{Stdout: []byte("said"), Stderr: []byte("cried")}

// withoutInput is a sandbox whose process has none, and one attached to each of its outputs, before it is started.
func (w *world) withoutInput() (s *Sandbox, stdout, stderr net.Conn) {
	w.t.Helper()
	spec := w.spec()
	spec.StdinOpen, spec.Apart = false, true
	s = New(spec, w.environment())
	return s, attached(w.t, s, logStdout), attached(w.t, s, logStderr)
}

// Where the order of its outputs is seen, the streams are open before the process runs.
func TestOutputsThatAreSeenInTheirOrderAreOpenedFirst(t *testing.T) {
	w := newWorld(t)
	spec := w.spec()
	spec.StdinOpen = false
	s := New(spec, w.environment())
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.late != nil || s.streams == nil {
		t.Errorf("the streams are not open when the process runs: %v, %v", s.late, s.streams)
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func attached(t *testing.T, s *Sandbox, stream int) (far net.Conn) {
	t.Helper()
	near, far := pair(t)
	out := s.Stdout
	if stream == logStderr {
		out = s.Stderr
	}
	if err := out.Attach(near, nil); err != nil {
		t.Fatal(err)
	}
	return far
}

// got reads a stream to its end.
func got(t *testing.T, from net.Conn, want string) {
	t.Helper()
	if text, err := io.ReadAll(from); string(text) != want || err != nil {
		t.Errorf("one attached got %q, %v; want %q", text, err, want)
	}
}

// logged compares the log, in which streams may come in any order.
func (w *world) logged(stdout, stderr string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if text := string(w.log); text != stdout+stderr && text != stderr+stdout {
		w.t.Errorf("logged %q, want %q and %q", text, stdout, stderr)
	}
}

func (w *world) called(call string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.calls, call)
}

func TestTheOutputOfAProcessThatEndsSoonComesWithItsEnd(t *testing.T) {
	for name, output := range map[string]*guestv1.Output{"it writes to both": said, "it writes nothing": {}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.output = output
			w.exits(&guestv1.Exit{Code: 3}) // known before its start has returned
			s, stdout, stderr := w.withoutInput()
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if outcome := w.wait(s); outcome.Code != 3 || outcome.Reason != Exited {
				t.Errorf("outcome %+v", outcome)
			}
			got(t, stdout, string(output.Stdout))
			got(t, stderr, string(output.Stderr))
			if want := string(output.Stdout) + string(output.Stderr); string(w.log) != want {
				t.Errorf("logged %q, want %q", w.log, want)
			}
			if w.called("stream") {
				t.Errorf("streams were opened: %q", w.calls)
			}
			if left := w.remains(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestAProcessThatGoesOnHasItsStreamsWithoutHoldingUpTheStart(t *testing.T) {
	w := newWorld(t)
	w.output = said // which is not to be believed of one whose streams are open
	started, opened := make(chan struct{}), make(chan struct{}, 2)
	w.opening = func(context.Context) error { <-started; opened <- struct{}{}; return nil }
	s, stdout, stderr := w.withoutInput()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(started)
	<-opened
	<-opened
	if err := s.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	late := attached(t, s, logStdout)
	if _, err := io.WriteString(w.process[guestv1.StreamKind_STREAM_KIND_STDOUT], "over a stream"); err != nil {
		t.Fatal(err)
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
	got(t, stdout, "over a stream")
	got(t, late, "over a stream")
	got(t, stderr, "")
	w.logged("over a stream", "")
}

func TestOneWhoAttachesBeforeTheStreamsAreOpenMissesNothing(t *testing.T) {
	w := newWorld(t)
	w.output = said
	w.opening = func(context.Context) error { <-w.over; return errors.New("stream has ended") }
	s, _, _ := w.withoutInput()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	stdout := attached(t, s, logStdout)
	w.exits(&guestv1.Exit{})
	w.wait(s)
	got(t, stdout, "said")
}

func TestAProcessThatEndsWhileItsStreamsAreOpenedIsHeardOnce(t *testing.T) {
	w := newWorld(t)
	ended := errors.New("stream has ended")
	trying, refused := make(chan struct{}, 2), make(chan struct{})
	w.opening = func(context.Context) error { trying <- struct{}{}; <-refused; return ended }
	w.output = said
	s, stdout, stderr := w.withoutInput()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-trying
	<-trying
	close(refused)
	w.exits(&guestv1.Exit{Code: 3})
	if outcome := w.wait(s); outcome.Code != 3 {
		t.Errorf("outcome %+v", outcome)
	}
	got(t, stdout, "said")
	got(t, stderr, "cried")
	w.logged("said", "cried")
}

func TestWhatTheEndDoesNotTellIsFetchedBeforeAllIsTakenDown(t *testing.T) {
	w := newWorld(t)
	w.unread = map[guestv1.StreamKind]string{guestv1.StreamKind_STREAM_KIND_STDOUT: "much", guestv1.StreamKind_STREAM_KIND_STDERR: "more"}
	w.exits(&guestv1.Exit{Code: 3})
	s, stdout, stderr := w.withoutInput()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if outcome := w.wait(s); outcome.Code != 3 {
		t.Errorf("outcome %+v", outcome)
	}
	got(t, stdout, "much")
	got(t, stderr, "more")
	w.logged("much", "more")
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestStreamsThatCannotBeOpenedLateEndWithTheContainer(t *testing.T) {
	for name, c := range map[string]struct {
		opening func(context.Context) error
		end     func(w *world)
		reason  string
	}{
		"the VM is gone": {func(context.Context) error { return errors.New("no connection") },
			func(w *world) { w.vmEnds <- &hypervisor.Exit{Reason: hypervisor.Crashed} }, VMCrashed},
		"the VM goes while they are opened": {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			func(w *world) { w.vmEnds <- &hypervisor.Exit{Reason: hypervisor.GuestPanic} }, Panicked},
		"the guest refuses": {func(context.Context) error { return errors.New("no") },
			func(w *world) { w.exits(&guestv1.Exit{Code: 3}) }, Exited},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			trying := make(chan struct{}, 2)
			w.opening = func(ctx context.Context) error { trying <- struct{}{}; return c.opening(ctx) }
			s, stdout, stderr := w.withoutInput()
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-trying
			<-trying
			c.end(w)
			if outcome := w.wait(s); outcome.Reason != c.reason {
				t.Errorf("outcome %+v", outcome)
			}
			got(t, stdout, "")
			got(t, stderr, "")
			if left := w.remains(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestAVMThatEndsBeforeStreamsAreOpenedEndsItsContainer(t *testing.T) {
	w := newWorld(t)
	s, stdout, _ := w.withoutInput()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.vmEnds <- &hypervisor.Exit{Reason: hypervisor.Crashed}
	if outcome := w.wait(s); outcome.Reason != VMCrashed {
		t.Errorf("outcome %+v", outcome)
	}
	got(t, stdout, "")
}

func TestStreamsAreOpenBeforeAGuestStandsStill(t *testing.T) {
	w := newWorld(t)
	s, _, _ := w.withoutInput()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	calls := slices.Clone(w.calls)
	streams := len(w.process)
	w.mu.Unlock()
	if last := calls[len(calls)-3:]; !slices.Equal(last, []string{"stream", "stream", "pause"}) || streams != 2 {
		t.Errorf("calls %q, %d streams", calls, streams)
	}
	if err := s.Unpause(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.exits(&guestv1.Exit{Code: 3})
	if outcome := w.wait(s); outcome.Code != 3 {
		t.Errorf("outcome %+v", outcome)
	}
}

func TestAGuestThatDoesNotOpenStreamsIsPausedWithinTheCallersPatienceOnly(t *testing.T) {
	w := newWorld(t)
	w.opening = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	s, _, _ := w.withoutInput()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Pause(ctx); !errors.Is(err, context.DeadlineExceeded) || w.called("pause") {
		t.Errorf("paused: %v, calls %q", err, w.calls)
	}
	w.vmEnds <- &hypervisor.Exit{Reason: hypervisor.Crashed}
	w.wait(s)
}

func TestAProcessThatIsStoppedBeforeItsStreamsAreOpenIsHeard(t *testing.T) {
	w := newWorld(t)
	w.output = said
	s, stdout, stderr := w.withoutInput()
	w.opening = func(context.Context) error { <-w.over; return errors.New("stream has ended") }
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context(), sigkill, time.Minute); err != nil {
		t.Fatal(err)
	}
	if outcome := w.wait(s); outcome.Signal != sigkill {
		t.Errorf("outcome %+v", outcome)
	}
	got(t, stdout, "said")
	got(t, stderr, "cried")
}
