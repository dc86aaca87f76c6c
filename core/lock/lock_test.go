package lock

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func background(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func hold(t *testing.T, path string) *Lock {
	t.Helper()
	l, err := Acquire(background(t), path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestOneHoldsTheLockAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside, times atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			l, err := Acquire(background(t), path)
			if err != nil {
				t.Error(err)
				return
			}
			if n := inside.Add(1); n != 1 {
				t.Errorf("%d hold it", n)
			}
			times.Add(1)
			inside.Add(-1)
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := times.Load(); n != 20 {
		t.Errorf("%d of 20 held it", n)
	}
}

func TestTryFailsAtOnceIfHeld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l := hold(t, path)
	if _, err := Try(path); !errors.Is(err, ErrHeld) {
		t.Errorf("error %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestTryIsNotRefusedBecauseOthersAsk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	done := make(chan struct{})
	var asker sync.WaitGroup
	asker.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if _, err := Held(path); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 500 {
		l, err := Try(path)
		if err != nil {
			t.Error(err)
			break
		}
		l.Close()
	}
	close(done)
	asker.Wait()
}

func TestManyShareALockThatNobodyHoldsAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var shared []*Lock
	for range 3 {
		l, err := AcquireShared(background(t), path)
		if err != nil {
			t.Fatal(err)
		}
		shared = append(shared, l)
	}
	if _, err := Try(path); !errors.Is(err, ErrHeld) {
		t.Errorf("error %v", err)
	}
	for _, l := range shared {
		l.Close()
	}
	hold(t, path).Close()
}

func TestWaitEndsWithTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l := hold(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := Acquire(ctx, path)
		failed <- err
	}()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	// Whoever gave up does not take the lock later.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	hold(t, path).Close()
}

func TestRemovedFileIsNotMistakenForTheNewOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l := hold(t, path)
	got := make(chan *Lock)
	go func() {
		l, err := Acquire(background(t), path)
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l.Close()
	l = <-got
	defer l.Close()
	if held, err := Held(path); err != nil || !held {
		t.Errorf("held %v, %v", held, err)
	}
}

func TestDirectoryThatDisappearsEndsTheWait(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l := hold(t, filepath.Join(dir, "lock"))
	failed := make(chan error)
	go func() {
		_, err := Acquire(background(t), filepath.Join(dir, "lock"))
		failed <- err
	}()
	// In one step, as the store does: a directory that is emptied piece by piece could get a new lock file meanwhile.
	if err := os.Rename(dir, dir+".removed"); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := <-failed; !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestHeldAsksAndLeavesNoTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if held, err := Held(path); held || err != nil {
		t.Errorf("missing file: %v, %v", held, err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("asking made the file")
	}
	l := hold(t, path)
	if held, err := Held(path); !held || err != nil {
		t.Errorf("held lock: %v, %v", held, err)
	}
	l.Close()
	if held, err := Held(path); held || err != nil {
		t.Errorf("free lock: %v, %v", held, err)
	}
}

// TestMain holds a lock for another test if it is asked to.
func TestMain(m *testing.M) {
	if path := os.Getenv("LOCK_TEST_HOLD"); path != "" {
		l, err := Acquire(context.Background(), path)
		if err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString("held\n")
		io.Copy(io.Discard, os.Stdin) // until it is killed: a process that waits for nothing the runtime ends
		runtime.KeepAlive(l)          // and a lock that nobody refers to the collector
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestLockEndsWithItsHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), "LOCK_TEST_HOLD="+path)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if held, err := Held(path); !held || err != nil {
		t.Errorf("while its holder lives: %v, %v", held, err)
	}
	free := make(chan error)
	go func() { free <- AwaitFree(background(t), path) }()
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-free; err != nil {
		t.Error(err)
	}
	_ = holder.Wait() // it was killed
	if held, err := Held(path); held || err != nil {
		t.Errorf("after its holder's death: %v, %v", held, err)
	}
}
