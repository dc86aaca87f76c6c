package reap

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func exiting(t *testing.T, r *Reaper) *Child {
	t.Helper()
	c, err := r.Start(func() (int, error) {
		return syscall.ForkExec("/bin/sh", []string{"sh", "-c", "exit 5"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNothingTellsOfEndsWhileItIsQuiet(t *testing.T) {
	r := New()
	r.quiet.most = time.Hour
	signal.Notify(r.signals, unix.SIGCHLD) // as Run does, which would take what comes
	defer signal.Stop(r.signals)
	first, second := r.Quiet(), r.Quiet()
	first()
	c := exiting(t, r)
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
	second()
	go r.Run(t.Context())
	wait(t, c, 5)             // who begins looks first
	wait(t, exiting(t, r), 5) // it is not quiet any more
}

func TestEndsThatNothingToldOfAreHeardOfSoon(t *testing.T) {
	r := New()
	r.quiet.most = time.Millisecond
	go r.Run(t.Context())
	for range 3 {
		over := r.Quiet()
		c := exiting(t, r)
		over()
		wait(t, c, 5)
	}
	defer r.Quiet()()
	wait(t, exiting(t, r), 5) // though nobody says that it is over
	defer r.Quiet()()         // meanwhile, as others do all the time
	for range 20 {
		r.Quiet()()
	}
	wait(t, exiting(t, r), 5)
}
