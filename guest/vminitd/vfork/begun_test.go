package vfork

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func begun(t *testing.T, args ...string) *Begun {
	t.Helper()
	var first, s Script
	first.UnblockSignals()
	s.Append(&first)
	if err := s.Execute(args[0], args, nil); err != nil {
		t.Fatal(err)
	}
	b, err := s.Begin(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func reap(t *testing.T, pid int) (status unix.WaitStatus) {
	t.Helper()
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			return status
		}
	}
}

func TestAnEndIsAwaitedAndNothingElse(t *testing.T) {
	b := begun(t, "/bin/sh", "-c", "exit 5")
	b.AwaitEnd(t.Context(), time.Minute)
	if err := b.Executed(t.Context()); err != nil {
		t.Error(err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, b.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil || info.Signo == 0 {
		t.Errorf("it has not ended: %v", err)
	}
	if status := reap(t, b.Pid); status.ExitStatus() != 5 {
		t.Errorf("it ended with %d", status.ExitStatus())
	}
}

func TestPatienceEndsAndSoDoesThatOfACallerWhoLeaves(t *testing.T) {
	b := begun(t, "/bin/sleep", "600")
	b.AwaitEnd(t.Context(), 30*time.Millisecond)
	ctx, leave := context.WithCancel(t.Context())
	time.AfterFunc(30*time.Millisecond, leave)
	b.AwaitEnd(ctx, time.Hour)
	if err := b.Executed(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if status := reap(t, b.Pid); status.Signal() != unix.SIGKILL {
		t.Errorf("it ended with %v", status)
	}
}

func TestAProgramThatIsNotThereIsSaidToBeMissingAfterTheEnd(t *testing.T) {
	b := begun(t, "/no/such/program")
	b.AwaitEnd(t.Context(), time.Minute)
	if e, ok := errors.AsType[*Error](b.Executed(t.Context())); !ok || e.Call != "execute" || !errors.Is(e, unix.ENOENT) {
		t.Errorf("error %v", e)
	}
	reap(t, b.Pid)
}
