package vfork

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func begun(t *testing.T, args ...string) (*Begun, error) {
	t.Helper()
	return begunWith(t, 0, args...)
}

func begunWith(t *testing.T, patience time.Duration, args ...string) (*Begun, error) {
	t.Helper()
	var first, s Script
	first.UnblockSignals()
	s.Append(&first)
	if err := s.Execute(args[0], args, nil); err != nil {
		t.Fatal(err)
	}
	b, err := s.Begin(t.Context(), nil, patience)
	if b == nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, err
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
	b, err := begun(t, "/bin/sh", "-c", "exit 5")
	if err != nil {
		t.Fatal(err)
	}
	b.AwaitEnd(t.Context(), time.Minute)
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, b.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil || info.Signo == 0 {
		t.Errorf("it has not ended: %v", err)
	}
	b.AwaitEnd(t.Context(), time.Minute) // once more, when it has
	if status := reap(t, b.Pid); status.ExitStatus() != 5 {
		t.Errorf("it ended with %d", status.ExitStatus())
	}
}

func TestOnTheOnlyCPUTheEndIsAwaitedRightAway(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	b, err := begunWith(t, time.Minute, "/bin/sleep", "600") // for a while
	if err != nil || b.ended {
		t.Fatalf("it has ended: %v, %v", b.ended, err)
	}
	if err := unix.Kill(b.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.AwaitEnd(t.Context(), time.Minute)
	if status := reap(t, b.Pid); status.Signal() != unix.SIGKILL {
		t.Errorf("it ended with %v", status)
	}
	for ended := false; !ended; { // if the machine is slow others end later than that
		if b, err = begunWith(t, time.Minute, "/bin/sh", "-c", "exit 5"); err != nil {
			t.Fatal(err)
		}
		ended = b.ended
		b.AwaitEnd(t.Context(), time.Minute)
		if status := reap(t, b.Pid); status.ExitStatus() != 5 {
			t.Errorf("it ended with %d", status.ExitStatus())
		}
	}
}

func TestPatienceEndsAndSoDoesThatOfACallerWhoLeaves(t *testing.T) {
	b, err := begun(t, "/bin/sleep", "600")
	if err != nil {
		t.Fatal(err)
	}
	b.AwaitEnd(t.Context(), 30*time.Millisecond)
	ctx, leave := context.WithCancel(t.Context())
	time.AfterFunc(30*time.Millisecond, leave)
	b.AwaitEnd(ctx, time.Hour)
	if err := unix.Kill(b.Pid, unix.SIGKILL); err != nil { // it runs
		t.Error(err)
	}
	if status := reap(t, b.Pid); status.Signal() != unix.SIGKILL {
		t.Errorf("it ended with %v", status)
	}
}

func TestAProgramThatIsNotThereIsSaidToBeMissing(t *testing.T) {
	b, err := begun(t, "/no/such/program")
	if e, ok := errors.AsType[*Error](err); !ok || e.Call != "execute" || !errors.Is(e, unix.ENOENT) {
		t.Errorf("error %v", e)
	}
	reap(t, b.Pid)
}
