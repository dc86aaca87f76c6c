package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// running is a sandbox with a further process in it.
func running(t *testing.T) (*world, *Sandbox, string, *execution) {
	w := newWorld(t)
	s := w.start()
	id, err := s.CreateProcess(t.Context(), []byte("{}"), "", false, false)
	if err != nil {
		t.Fatal(err)
	}
	return w, s, id, w.execution(id)
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
	w, s, id, process := running(t)
	caller, _ := attachProcess(t, s, id, 1)
	if err := s.StartProcess(t.Context(), id); err != nil {
		t.Fatal(err)
	}
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
	if err := s.DeleteProcess(t.Context(), id); err != nil {
		t.Error(err)
	}
	soon(t, "forgotten in the guest", process.deleted)
	if err := s.DeleteProcess(t.Context(), id); err != nil {
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
	w, s, id, process := running(t)
	idle, joined := attachProcess(t, s, id, 0) // a caller who sends nothing, and does not look
	if err := s.StartProcess(t.Context(), id); err != nil {
		t.Fatal(err)
	}
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
	if _, err := s.CreateProcess(t.Context(), []byte("{}"), "", false, false); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("creating another: %v", err)
	}
	process.exits()
}

func TestAnExecWhoseCallerDiesRunsToItsEndAndIsForgotten(t *testing.T) {
	w, s, id, process := running(t)
	caller, _ := attachProcess(t, s, id, 1)
	waiting, die := context.WithCancel(t.Context())
	waited := make(chan error, 1)
	go func() { _, err := s.WaitProcess(waiting, id); waited <- err }()
	if err := s.StartProcess(t.Context(), id); err != nil {
		t.Fatal(err)
	}
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
	id, err := s.CreateProcess(t.Context(), []byte("{}"), "", false, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.StartProcess(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	process := w.execution(id)
	if got, err := io.ReadAll(process.streams[guestv1.StreamKind_STREAM_KIND_STDIN]); len(got) != 0 || err != nil {
		t.Errorf("its input: %q, %v", got, err)
	}
	process.exits()
	soon(t, "forgotten in the guest", process.deleted)
	w.exits(&guestv1.Exit{})
	w.wait(s)
}
