package sandbox

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

func TestEachStepOfAStartFailingInTurnLeavesNothing(t *testing.T) {
	for _, call := range []string{"plugin", "attach", "create vm", "start vm", "dial", "adopt", "create container", "stream", "release", "start process",
		"start process, without input"} {
		t.Run(call, func(t *testing.T) {
			w := newWorld(t)
			broken := errors.New("it is broken")
			call, without := strings.CutSuffix(call, ", without input")
			w.fail[call] = broken
			spec := w.spec()
			spec.StdinOpen = !without
			s := New(spec, w.environment())
			if err := s.Start(t.Context()); !errors.Is(err, broken) {
				t.Errorf("error %v", err)
			}
			if left := w.remains(); len(left) > 0 {
				t.Errorf("left: %q, after %q", left, w.calls)
			}
			near, far := pair(t)
			if err := s.Stdout.Attach(near, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(far); err != nil {
				t.Errorf("one attached is left waiting: %v", err)
			}
		})
	}
}

func TestACancelledStartLeavesNothing(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	env := w.environment()
	env.Released = func(ctx context.Context) error { cancel(interrupted); <-ctx.Done(); return context.Cause(ctx) }
	if err := New(w.spec(), env).Start(ctx); !errors.Is(err, interrupted) {
		t.Errorf("error %v", err)
	}
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestAContainerEndsWithItsExitCodeAllItsOutputAndNothingLeft(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	near, far := pair(t)
	if err := s.Stdout.Attach(near, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w.process[guestv1.StreamKind_STREAM_KIND_STDOUT], "last words"); err != nil {
		t.Fatal(err)
	}
	w.exits(&guestv1.Exit{Code: 42})
	outcome := w.wait(s)
	if outcome.Code != 42 || outcome.Reason != Exited {
		t.Errorf("outcome %+v", outcome)
	}
	if got, err := io.ReadAll(far); string(got) != "last words" || err != nil {
		t.Errorf("attached got %q, %v", got, err)
	}
	if string(w.log) != "last words" {
		t.Errorf("logged %q", w.log)
	}
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	order := []string{"shutdown", "stop vm kill", "delete vm", "detach"}
	if got := w.calls[len(w.calls)-len(order):]; !slices.Equal(got, order) {
		t.Errorf("taken down by %q, want %q", got, order)
	}
}

func TestADiscardedSandboxIsNotShutDownButUnplugged(t *testing.T) {
	w := newWorld(t)
	spec := w.spec()
	spec.Discarded = true
	s := New(spec, w.environment())
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
	for _, call := range []string{"shutdown", "stop vm kill", "delete vm"} { // it ends with its plugin
		if slices.Contains(w.calls, call) {
			t.Errorf("taken down by %q", w.calls)
		}
	}
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestNobodyWaitsForAVMThatIsDiscardedAndHasNothingOfOthers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Spec)
		kept   bool
		unseen bool
	}{
		"discarded":      {change: func(s *Spec) { s.Discarded = true }, unseen: true},
		"kept":           {change: func(*Spec) {}},
		"kept after all": {change: func(s *Spec) { s.Discarded = true }, kept: true},
		"has a volume":   {change: func(s *Spec) { s.Discarded, s.Volumes = true, []Volume{{Name: "volume0", ReadOnly: true}} }},
		"has a host's directory": {change: func(s *Spec) {
			s.Discarded, s.Shares = true, []hypervisor.Share{{Tag: "share0", Path: "/", ReadOnly: true}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.closing, w.closed = make(chan struct{}, 1), make(chan struct{})
			spec := w.spec()
			c.change(&spec)
			s := New(spec, w.environment())
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if c.kept {
				s.Keep()
			}
			if c.unseen {
				w.detach = make(chan struct{})
			}
			w.exits(&guestv1.Exit{Code: 3})
			<-w.closing
			if c.unseen {
				outcome, err := s.Ended(t.Context())
				if left := w.remains(); err != nil || outcome.Code != 3 || slices.Contains(left, "agent") || !slices.Contains(left, "plugin") {
					t.Errorf("%+v, %v, left %q", outcome, err, left)
				}
				select {
				case <-s.Freed():
					t.Error("its place is free, and its lease is not given back")
				default:
				}
				close(w.detach)
				<-s.Freed()
				if left := w.remains(); slices.Contains(left, "lease") {
					t.Errorf("left: %q", left)
				}
				select {
				case <-s.Stopped():
					t.Error("it has stopped, and its plugin has not")
				default:
				}
			} else {
				select {
				case <-s.over:
					t.Error("it has ended, and its plugin has not")
				default:
				}
			}
			close(w.closed)
			if outcome := w.wait(s); outcome.Code != 3 {
				t.Errorf("outcome %+v", outcome)
			}
			if left := w.remains(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestAStartThatFailsWaitsForTheEndOfTheVM(t *testing.T) {
	w := newWorld(t)
	w.closing, w.closed = make(chan struct{}, 1), make(chan struct{})
	w.fail["start process"] = errors.New("no")
	spec := w.spec()
	spec.Discarded = true
	s := New(spec, w.environment())
	failed := make(chan []string, 1)
	go func() {
		_ = s.Start(t.Context())
		failed <- w.remains()
	}()
	<-w.closing
	close(w.closed)
	if left := <-failed; len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestInputReachesTheProcess(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	if err := s.Stdin.Copy(t.Context(), strings.NewReader("typed"), true); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(w.process[guestv1.StreamKind_STREAM_KIND_STDIN])
	if string(got) != "typed" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func TestInputThatIsNotOpenIsAtItsEnd(t *testing.T) {
	for _, old := range []bool{false, true} {
		w := newWorld(t)
		w.old = old
		spec := w.spec()
		spec.StdinOpen = false
		s := New(spec, w.environment())
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		stdin := w.process[guestv1.StreamKind_STREAM_KIND_STDIN]
		w.mu.Unlock()
		if old {
			if got, err := io.ReadAll(stdin); len(got) > 0 || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		} else if stdin != nil || !w.noInput {
			t.Errorf("a stream %v; the guest knows: %v", stdin, w.noInput)
		}
		if err := s.Stdin.Copy(t.Context(), strings.NewReader("typed"), true); err != nil {
			t.Errorf("one who is attached and types: %v", err)
		}
		w.exits(&guestv1.Exit{})
		w.wait(s)
	}
}

func TestAGuestWithoutAbilitiesIsGivenItsIdentityAndItsProcessByCallsOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	w.old = true
	s := w.start()
	w.exits(&guestv1.Exit{Code: 3})
	if outcome := w.wait(s); outcome.Reason != Exited || outcome.Code != 3 {
		t.Errorf("it ended with %+v", outcome)
	}
	want := []string{"dial", "adopt", "create container", "stream", "stream", "stream", "release", "start process", "wait"}
	if at := slices.Index(w.calls, "dial"); at < 0 || !slices.Equal(w.calls[at:min(at+len(want), len(w.calls))], want) {
		t.Errorf("calls %q; want %q", w.calls, want)
	}
}

func TestHowAContainerEnds(t *testing.T) {
	tests := []struct {
		name   string
		end    func(w *world)
		reason string
		code   int
	}{
		{"by itself", func(w *world) { w.exits(&guestv1.Exit{Code: 3}) }, Exited, 3},
		{"by a signal", func(w *world) { w.exits(&guestv1.Exit{Code: 143, Signal: 15}) }, Killed, 143},
		{"out of memory", func(w *world) { w.exits(&guestv1.Exit{Code: 137, Signal: 9, OomKilled: true}) }, OutOfMem, 137},
		{"out of memory, as a shell says it of its last command", func(w *world) { w.exits(&guestv1.Exit{Code: 137, OomKilled: true}) }, OutOfMem, 137},
		{"by itself, though another process was killed", func(w *world) { w.exits(&guestv1.Exit{Code: 3, OomKilled: true}) }, Exited, 3},
		{"with its kernel", func(w *world) { w.vmEnds <- &hypervisor.Exit{Reason: hypervisor.GuestPanic} }, Panicked, 137},
		{"with its VM", func(w *world) { w.vmEnds <- &hypervisor.Exit{Reason: hypervisor.Crashed, Message: "QEMU was killed"} }, VMCrashed, 137},
		{"with a code no process can have", func(w *world) { w.exits(&guestv1.Exit{Code: 1 << 20}) }, Exited, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			s := w.start()
			test.end(w)
			outcome := w.wait(s)
			if outcome.Reason != test.reason || outcome.Code != test.code {
				t.Errorf("outcome %+v", outcome)
			}
			if left := w.remains(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestACrashSaysWhatTheHypervisorSaid(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	w.vmEnds <- &hypervisor.Exit{Reason: hypervisor.GuestPanic, Message: "Kernel panic - not syncing"}
	if outcome := w.wait(s); !strings.Contains(outcome.Message, "Kernel panic") {
		t.Errorf("message %q", outcome.Message)
	}
}

func TestABootThatFailsSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.vmEnds <- &hypervisor.Exit{Reason: hypervisor.GuestPanic, Message: "no init found"}
	env := w.environment()
	env.Dial = func(ctx context.Context, _ string, _ bool) (Guest, error) { <-ctx.Done(); return nil, ctx.Err() }
	err := New(w.spec(), env).Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no init found") {
		t.Errorf("error %v", err)
	}
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestStopKillsWhoDoesNotListen(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	if err := s.Stop(t.Context(), 15, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if outcome := w.wait(s); outcome.Signal != sigkill || outcome.Reason != Killed {
		t.Errorf("outcome %+v", outcome)
	}
	if err := s.Stop(t.Context(), 15, 0); err != nil {
		t.Errorf("stopping again: %v", err)
	}
}

func TestANetworkThatKnowsTheLinksDoesNotWaitForTheHypervisor(t *testing.T) {
	for name, failure := range map[string]error{"the hypervisor starts": nil, "the hypervisor does not start": errors.New("no plugin")} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			spec := w.spec()
			spec.Links = []string{network.LinkUnixDatagram}
			env := w.environment()
			attached := make(chan struct{})
			attach, start := env.Attach, env.StartHypervisor
			env.Attach = func(ctx context.Context, r network.AttachRequest) (Lease, error) {
				defer close(attached)
				if !slices.Equal(r.LinkTypes, spec.Links) {
					t.Errorf("asked for links %q", r.LinkTypes)
				}
				return attach(ctx, r)
			}
			env.StartHypervisor = func(ctx context.Context) (Hypervisor, error) {
				<-attached
				if failure != nil {
					return nil, failure
				}
				return start(ctx)
			}
			s := New(spec, env)
			if err := s.Start(t.Context()); !errors.Is(err, failure) {
				t.Fatal(err)
			}
			if failure == nil {
				w.exits(&guestv1.Exit{})
				w.wait(s)
			}
			if left := w.remains(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}
