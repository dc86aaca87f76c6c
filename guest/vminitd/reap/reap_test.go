package reap

import (
	"context"
	"syscall"
	"testing"
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
