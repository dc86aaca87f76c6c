package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
)

// TestMain lives container after container without end, telling each step, if it is asked to.
func TestMain(m *testing.M) {
	if root := os.Getenv("STORE_TEST_ROOT"); root != "" {
		fmt.Fprintln(os.Stderr, liveOn(Paths{Root: root, Run: root + "-run"}))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func liveOn(paths Paths) error {
	ctx := context.Background()
	s, err := OpenPaths(paths)
	if err != nil {
		return err
	}
	for whole := false; ; whole = !whole {
		id := NewID()
		held, err := s.Create(ctx, Container{ID: id, Name: "web", Sandbox: id, Created: time.Now()})
		if err == nil {
			fmt.Println("created")
			err = s.CreateSandbox(ctx, Sandbox{ID: id})
		}
		for _, event := range []lifecycle.Event{lifecycle.Made, lifecycle.Start, lifecycle.Exited, lifecycle.Remove} {
			if err == nil {
				_, err = s.Update(ctx, id, func(c *Container) error { return c.Advance(event) })
				fmt.Println(event)
			}
		}
		if err == nil && whole {
			var finish func() error
			if finish, err = s.RemoveWhole(ctx, id, id, false); err == nil {
				fmt.Println("removed")
				err = errors.Join(held.Close(), finish())
			}
		} else if err == nil {
			err = errors.Join(s.RemoveSandbox(ctx, id), s.Remove(ctx, id), held.Close())
		}
		if err != nil {
			return err
		}
	}
}

func TestStoreIsSoundWhereverItsUserIsKilled(t *testing.T) {
	s := open(t)
	for i := range 30 {
		worker := exec.Command(os.Args[0])
		worker.Env = append(os.Environ(), "STORE_TEST_ROOT="+s.paths.Root)
		worker.Stderr = os.Stderr
		out, err := worker.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := worker.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		for range 1 + rand.IntN(20) {
			if _, err := lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		if err := worker.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = worker.Wait() // it was killed
		entries, err := s.List()
		if err != nil || len(entries) > 1 {
			t.Fatalf("round %d: %+v, %v", i, entries, err)
		}
		for _, e := range entries {
			if e.Err != nil || e.Container.State == lifecycle.Creating || e.Container.State.Active() {
				t.Errorf("round %d: state %s, %v", i, e.Container.State, e.Err)
			}
			if id, err := s.Resolve("web"); err != nil || id != e.ID {
				t.Errorf("round %d: its name leads to %q, %v", i, id, err)
			}
			if err := errors.Join(s.RemoveSandbox(deadline(t), e.ID), s.Remove(deadline(t), e.ID)); err != nil {
				t.Fatal(err)
			}
		}
		// The name is free, and what the killed one left half made is cleared away.
		c := create(t, s, "web")
		if err := errors.Join(s.RemoveSandbox(deadline(t), c.ID), s.Remove(deadline(t), c.ID)); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{s.paths.Containers(), s.paths.Names(), s.paths.staging()} {
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Fatalf("round %d: left in %s: %v, %v", i, dir, left, err)
			}
		}
	}
}
