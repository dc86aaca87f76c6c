package reap

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestEndsThatNothingTellsAreHeardOfAfter(t *testing.T) {
	r := New()
	signal.Notify(r.signals, unix.SIGCHLD) // as Run does, which would take what comes
	defer signal.Stop(r.signals)
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
	first, second := r.Quiet(time.Hour), r.Quiet(time.Hour)
	c := exiting()
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, c.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	passed := make(chan os.Signal, 1)
	signal.Notify(passed, unix.SIGWINCH) // what was sent before arrives before
	defer signal.Stop(passed)
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	<-passed
	if len(r.signals) > 0 {
		t.Error("something tells of the end")
	}
	go r.Run(t.Context())
	wait(t, c, 5) // who begins looks first
	c = exiting()
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
