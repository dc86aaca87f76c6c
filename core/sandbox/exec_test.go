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
	"github.com/vzctl/vzctl/sdk/fault"
)

// running is a sandbox with a further process that is to be started in it.
func running(t *testing.T) (*world, *Sandbox, string) {
	w := newWorld(t)
	s := w.start()
	return w, s, created(t, s, ProcessRequest{})
}

func created(t *testing.T, s *Sandbox, r ProcessRequest) (id string) {
	t.Helper()
	r.OCIProcess = []byte("{}")
	id, err := s.CreateProcess(r)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// started is what the guest knows of a process that is started now.
func (w *world) started(t *testing.T, s *Sandbox, id string) *execution {
	t.Helper()
	if err := s.StartProcess(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return w.execution(id)
}

// attach joins a connection to a stream of a process, and returns the caller's end.
func attachProcess(t *testing.T, s *Sandbox, id string, stream int) (caller net.Conn, joined <-chan error) {
	near, far := pair(t)
	join, err := s.AttachProcess(id, stream, near)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- errors.Join(join(), near.Close()) }()
	return far, done
}

func soon(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s: not within 30 s", what)
	}
}

func TestAnExecGivesAllItsOutputAndItsExitCode(t *testing.T) {
	w, s, id := running(t)
	caller, _ := attachProcess(t, s, id, 1)
	process := w.started(t, s, id)
	if _, err := io.WriteString(process.streams[guestv1.StreamKind_STREAM_KIND_STDOUT], "hello"); err != nil {
		t.Fatal(err)
	}
	process.exits()
	if got, err := io.ReadAll(caller); string(got) != "hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if outcome, err := s.WaitProcess(t.Context(), id); outcome.Code != 7 || err != nil {
		t.Errorf("outcome %+v, %v", outcome, err)
	}
	if err := s.DeleteProcess(id); err != nil {
		t.Error(err)
	}
	soon(t, "forgotten in the guest", process.deleted)
	if err := s.DeleteProcess(id); err != nil {
		t.Errorf("deleting again: %v", err)
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func TestAProcessThatIsNotThereIsRefused(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	near, _ := pair(t)
	if _, err := s.AttachProcess("exec9", 1, near); !errors.Is(err, fault.NotFound) {
		t.Errorf("attach: %v", err)
	}
	if err := s.StartProcess(t.Context(), "exec9"); !errors.Is(err, fault.NotFound) {
		t.Errorf("start: %v", err)
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func TestTheEndOfTheContainerEndsItsExecsAndThoseAttachedToThem(t *testing.T) {
	w, s, id := running(t)
	idle, joined := attachProcess(t, s, id, 0) // a caller who sends nothing, and does not look
	process := w.started(t, s, id)
	w.exits(&guestv1.Exit{})
	w.wait(s)
	select {
	case <-joined:
	case <-time.After(30 * time.Second):
		t.Error("one who is attached keeps the sandbox")
	}
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("the caller's connection is open")
	}
	if _, err := s.CreateProcess(ProcessRequest{}); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("creating another: %v", err)
	}
	process.exits()
}

func TestAnExecWhoseCallerDiesRunsToItsEndAndIsForgotten(t *testing.T) {
	w, s, id := running(t)
	caller, _ := attachProcess(t, s, id, 1)
	waiting, die := context.WithCancel(t.Context())
	waited := make(chan error, 1)
	go func() { _, err := s.WaitProcess(waiting, id); waited <- err }()
	process := w.started(t, s, id)
	caller.Close()
	die()
	if err := <-waited; !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	// It is not held back by output that nobody reads.
	if _, err := process.streams[guestv1.StreamKind_STREAM_KIND_STDOUT].Write(make([]byte, 8<<20)); err != nil {
		t.Fatal(err)
	}
	process.exits()
	soon(t, "forgotten in the guest", process.deleted)
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func TestADetachedExecIsForgottenAtItsEnd(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	process := w.started(t, s, created(t, s, ProcessRequest{Detached: true}))
	if !process.asked.InputEnded || process.streams[guestv1.StreamKind_STREAM_KIND_STDIN] != nil {
		t.Error("it has an input")
	}
	process.exits()
	soon(t, "forgotten in the guest", process.deleted)
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func TestAProcessWithoutInputIsOneCallOfTheGuest(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	id := created(t, s, ProcessRequest{NoInput: true})
	process := w.started(t, s, id)
	if !process.asked.Start || !process.asked.InputEnded || len(process.streams) != 2 {
		t.Errorf("the guest was asked for %v, and for %d streams", process.asked, len(process.streams))
	}
	near, _ := pair(t)
	join, err := s.AttachProcess(id, 0, near)
	if err != nil {
		t.Fatal(err)
	}
	if err := join(); err != nil {
		t.Errorf("joining its input: %v", err)
	}
	if err := s.StartProcess(t.Context(), id); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("starting it again: %v", err)
	}
	process.exits()
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func TestAProcessThatEndsAtOnceIsOneCallInAll(t *testing.T) {
	w := newWorld(t)
	w.brief = &guestv1.CreateProcessResponse{Exit: &guestv1.Exit{Code: 7}, Stdout: []byte("said"), Stderr: []byte("cried")}
	s := w.start()
	id := created(t, s, ProcessRequest{NoInput: true})
	stdout, _ := attachProcess(t, s, id, 1)
	stderr, _ := attachProcess(t, s, id, 2)
	stdin, _ := attachProcess(t, s, id, 0)
	w.mu.Lock()
	before := len(w.calls)
	w.mu.Unlock()
	process := w.started(t, s, id)
	for conn, want := range map[net.Conn]string{stdout: "said", stderr: "cried", stdin: ""} {
		if got, err := io.ReadAll(conn); string(got) != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	if outcome, err := s.WaitProcess(t.Context(), id); outcome.Code != 7 || err != nil {
		t.Errorf("outcome %+v, %v", outcome, err)
	}
	if err := s.DeleteProcess(id); err != nil {
		t.Error(err)
	}
	other := created(t, s, ProcessRequest{NoInput: true})
	w.started(t, s, other)
	if all := s.TakeBrief(other); all == nil || all.Code != 7 || string(all.Stdout) != "said" || string(all.Stderr) != "cried" || s.process(other) != nil {
		t.Errorf("taken is %+v", all)
	}
	if _, output, err := s.Capture(t.Context(), []byte("{}"), "", 7); string(output) != "saidcri" || err != nil {
		t.Errorf("the beginning of what another says: %q, %v", output, err)
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
	if calls := w.calls[before:]; slices.ContainsFunc(calls, func(call string) bool { return call == "stream" }) || len(process.streams) > 0 {
		t.Errorf("streams were opened: %q", calls)
	}
	select {
	case <-process.deleted:
		t.Error("the guest was asked to forget what it had forgotten")
	default:
	}
}

func TestWhatIsNotBriefIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	for name, r := range map[string]ProcessRequest{"with input": {}, "with a terminal": {NoInput: true, Terminal: true}, "that nobody waits for": {Detached: true},
		"whose outputs are seen in their order": {NoInput: true, Ordered: true}} {
		process := w.started(t, s, created(t, s, r))
		if process.asked.BriefMilliseconds != 0 || s.TakeBrief(process.asked.ProcessId) != nil {
			t.Errorf("a process %s: %v", name, process.asked)
		}
		process.exits()
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func TestAnOlderGuestGetsACallForEachStep(t *testing.T) {
	w := newWorld(t)
	w.old = true
	s := w.start()
	process := w.started(t, s, created(t, s, ProcessRequest{NoInput: true}))
	if process.asked.Start || process.asked.InputEnded || !slices.Contains(w.calls, "start exec") {
		t.Errorf("the guest was asked for %v", process.asked)
	}
	if got, err := io.ReadAll(process.streams[guestv1.StreamKind_STREAM_KIND_STDIN]); len(got) != 0 || err != nil {
		t.Errorf("its input: %q, %v", got, err)
	}
	process.exits()
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func TestAnExecThatDoesNotStartLeavesNothing(t *testing.T) {
	w, s, id := running(t)
	none := errors.New("there is no such program")
	w.mu.Lock()
	w.fail["start exec"] = none
	w.mu.Unlock()
	if err := s.StartProcess(t.Context(), id); !errors.Is(err, none) {
		t.Errorf("error %v", err)
	}
	if err := s.DeleteProcess(id); err != nil {
		t.Error(err)
	}
	soon(t, "forgotten in the guest", w.execution(id).deleted)
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

// Its guest may have started it at the very moment in which its caller left.
func TestAnExecWhoseCallerLeavesWhileItStartsIsKilled(t *testing.T) {
	w, s, id := running(t)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	w.mu.Lock()
	w.fail["start exec"] = context.Canceled
	w.mu.Unlock()
	if err := s.StartProcess(ctx, id); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	soon(t, "the end of the process", w.execution(id).ended)
	if err := s.DeleteProcess(id); err != nil {
		t.Error(err)
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

// late has the time be over for which a process is kept for its caller, and reports whether it was running.
func late(s *Sandbox, id string) bool { return s.process(id).unwanted.Reset(0) }

func TestAnExecWhoseCallerDiesBeforeItWaitsIsForgotten(t *testing.T) {
	t.Run("at its end, if it runs", func(t *testing.T) {
		w, s, id := running(t)
		process := w.started(t, s, id)
		if !late(s, id) {
			t.Fatal("nobody looks whether its caller is there")
		}
		process.exits()
		soon(t, "forgotten in the guest", process.deleted)
		if err := s.nothingElseRuns(); err != nil && !errors.Is(err, errForgetting) {
			t.Errorf("a checkpoint is refused: %v", err)
		}
		w.exits(&guestv1.Exit{})
		w.wait(s)
	})
	t.Run("soon, if it was not started", func(t *testing.T) {
		w, s, id := running(t)
		w.mu.Lock()
		w.fail["start exec"] = context.Canceled
		w.mu.Unlock()
		if err := s.StartProcess(t.Context(), id); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if !late(s, id) {
			t.Fatal("nobody looks whether its caller is there")
		}
		soon(t, "forgotten in the guest", w.execution(id).deleted)
		w.exits(&guestv1.Exit{})
		w.wait(s)
	})
	t.Run("but not if somebody waits for it", func(t *testing.T) {
		for name, order := range map[string]func(waits, passes func()){
			"in time": func(waits, passes func()) { waits(); passes() },
			"later":   func(waits, passes func()) { passes(); waits() },
		} {
			t.Run(name, func(t *testing.T) {
				w, s, id := running(t)
				process := w.started(t, s, id)
				outcome := make(chan Outcome, 1)
				order(func() {
					go func() {
						o, err := s.WaitProcess(t.Context(), id)
						if err != nil {
							t.Error(err)
						}
						outcome <- o
					}()
					soon(t, "it is waited for", s.process(id).waited)
				}, func() {
					p := s.process(id)
					p.unwanted.Stop()
					s.abandon(id, p)
				})
				process.exits()
				if o := <-outcome; o.Code != 7 {
					t.Errorf("outcome %+v", o)
				}
				s.tending.Wait()
				if s.process(id) == nil {
					t.Error("what it wrote is gone before its caller has read it")
				}
				w.exits(&guestv1.Exit{})
				w.wait(s)
			})
		}
	})
}

func TestASaveWaitsForWhatTheGuestIsAboutToForget(t *testing.T) {
	w, s, id := running(t)
	process := w.started(t, s, id)
	process.exits()
	if _, err := s.WaitProcess(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.forget = make(chan struct{})
	if err := s.DeleteProcess(id); err != nil {
		t.Fatal(err)
	}
	began := make(chan error, 1)
	go func() {
		end, err := s.beginSaving(t.Context())
		if err == nil {
			select {
			case <-process.deleted:
			default:
				err = errors.New("the guest still knows the process")
			}
			end()
		}
		began <- err
	}()
	close(w.forget)
	if err := <-began; err != nil {
		t.Error(err)
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}
