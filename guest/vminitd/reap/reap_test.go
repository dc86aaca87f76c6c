package reap

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"time"
)

// A child that ends before it is known, and one that is made meanwhile by somebody whose fork takes long.
func TestAChildThatEndsBeforeItIsKnown(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := New()
	go r.Run(ctx)
	exits := func(code string) (int, error) {
		return syscall.ForkExec("/bin/sh", []string{"sh", "-c", "exit " + code}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	}
	child, err := r.Start(func() (int, error) {
		early, err := exits("3")
		if err != nil {
			return 0, err
		}
		other, err := r.Start(func() (int, error) { return exits("4") })
		if err != nil {
			return 0, err
		}
		wait(t, other, 4)
		for { // until it is reaped, though nobody knows of it
			r.mu.Lock()
			_, ended := r.early[early]
			r.mu.Unlock()
			if ended {
				return early, nil
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, child, 3)
	if len(r.early) > 0 {
		t.Errorf("it keeps the ends of %v", r.early)
	}
}

func wait(t *testing.T, c *Child, code int) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(time.Minute):
		t.Fatal("its end is not known")
	}
	if got := c.Exit(); got.Code != code || got.Signal != 0 {
		t.Errorf("exit %+v, want %d", got, code)
	}
}

// A number is used again while somebody's fork takes long: the end of the process before is not that of the one now.
func TestTheEndOfAnotherWithTheSameNumberIsNotAChilds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := New()
	before := r.starts
	child, err := r.Start(func() (int, error) {
		pid, err := syscall.ForkExec("/bin/cat", []string{"cat"}, &syscall.ProcAttr{Files: []uintptr{inputUntil(t, ctx), 1, 2}})
		r.mu.Lock()
		r.early[pid] = early{Exit{Code: 253}, before}
		r.mu.Unlock()
		return pid, err
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-child.Done():
		t.Errorf("it runs, and is told to have ended with %d", child.Exit().Code)
	default:
	}
	go r.Run(ctx)
	if err := child.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	<-child.Done()
	if exit := child.Exit(); exit.Signal != syscall.SIGTERM {
		t.Errorf("exit %+v", exit)
	}
}

func TestAnEndIsSeenBeforeItIsReaped(t *testing.T) {
	for script, want := range map[string]Exit{"exit 7": {Code: 7}, "kill -9 $$": {Code: 137, Signal: syscall.SIGKILL}, "read never": {}} {
		ctx, cancel := context.WithCancel(t.Context())
		r := New()
		child, err := r.Start(func() (int, error) {
			return syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{Files: []uintptr{inputUntil(t, ctx), 1, 2}})
		})
		if err != nil {
			t.Fatal(err)
		}
		if want.Code != 0 {
			var info unix.Siginfo
			if err := unix.Waitid(unix.P_PID, child.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
				t.Fatal(err)
			}
		}
		child.Look()
		child.Look()
		if exit := child.Exit(); child.ended() != (want.Code != 0) || exit.Code != want.Code || exit.Signal != want.Signal {
			t.Errorf("%s: %+v", script, exit)
		}
		cancel()
		running, stop := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() { defer close(stopped); r.Run(running) }()
		<-child.Done()
		for left := 1; left > 0; {
			r.mu.Lock()
			left = len(r.children)
			r.mu.Unlock()
		}
		stop()
		<-stopped // which would reap the next one
		if err := child.Signal(0); !errors.Is(err, ErrEnded) {
			t.Errorf("%s: its number is still used: %v", script, err)
		}
	}
}

func TestOneThatIsToBeForgottenIsReaped(t *testing.T) {
	r := New()
	_, err := r.Start(func() (int, error) {
		pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
		return pid, errors.Join(err, errors.New("it is of no use"))
	})
	if err == nil {
		t.Error("no error")
	}
	for len(r.children) > 0 {
		r.reap()
	}
}

// inputUntil returns the descriptor of an input that has nothing, and is at its end with ctx.
func inputUntil(t *testing.T, ctx context.Context) uintptr {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { _ = write.Close() })
	t.Cleanup(func() { _ = read.Close() })
	return read.Fd()
}
