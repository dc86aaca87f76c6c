package reap

import (
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestEndsThatNothingTellsAreHeardOfAfter(t *testing.T) {
	r := New()
	go r.Run(t.Context())
	exiting := func() *Child {
		t.Helper()
		c, err := r.Start(func() (int, error) {
			return syscall.ForkExec("/bin/sh", []string{"sh", "-c", "exit 5"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	wait(t, exiting(), 5) // it runs
	first, second := r.Quiet(time.Hour), r.Quiet(time.Hour)
	c := exiting()
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, c.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // in which it would have been heard of
	select {
	case <-c.Done():
		t.Error("something tells of the end")
	default:
	}
	first()
	wait(t, c, 5) // one looks when it is over, whatever others want
	c = exiting()
	second()
	second() // once is enough
	wait(t, c, 5)
	wait(t, exiting(), 5)

	defer r.Quiet(time.Millisecond)()
	wait(t, exiting(), 5) // though nobody says that it is over
}
