package reserve_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/reserve"
	"github.com/vzctl/vzctl/sdk/rendezvous"
)

const self = "/proc/self/exe"

var (
	key   = reserve.Key("what", "it", "is")
	other = reserve.Key("what it", "is")
	id    = strings.Repeat("1d", 16)
)

func none(string) error { return nil }

// waiting is what Wait returned.
type waiting struct {
	conn *net.UnixConn
	err  error
}

// wait has this process wait for a key, and returns once it can be taken.
func wait(t *testing.T, dir, key string, keep time.Duration) (ended <-chan waiting, claim *lock.Lock, cancel func()) {
	t.Helper()
	place := reserve.At(dir)
	claim, err := place.Claim(t.Context(), key, none)
	if err != nil || claim == nil {
		t.Fatalf("no right to wait: %v, %v", claim, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); _ = claim.Close() })
	result := make(chan waiting, 1)
	waiter, err := place.Open(key, id)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		conn, err := waiter.Wait(ctx, keep)
		result <- waiting{conn, errors.Join(err, waiter.Close())}
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // nobody tells
		if _, err := os.Lstat(filepath.Join(dir, key)); err == nil {
			return result, claim, cancel
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not wait")
		}
	}
}

func left(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestOneWhoWaitsIsTakenByOneAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "reserve")
	if taken := reserve.At(dir).Take(key, self, none); taken != nil {
		t.Fatal("taken where nobody waits")
	}
	for range 20 {
		ended, claim, _ := wait(t, dir, key, time.Hour)
		if taken := reserve.At(dir).Take(other, self, none); taken != nil {
			t.Fatal("taken for another key")
		}
		var (
			wait sync.WaitGroup
			mu   sync.Mutex
			all  []*reserve.Taken
		)
		for range 8 {
			wait.Go(func() {
				if taken := reserve.At(dir).Take(key, self, none); taken != nil {
					mu.Lock()
					defer mu.Unlock()
					all = append(all, taken)
				}
			})
		}
		wait.Wait()
		if len(all) != 1 || all[0].ID != id || all[0].PID != os.Getpid() {
			t.Fatalf("taken by %d: %+v", len(all), all)
		}
		got := <-ended
		if got.err != nil {
			t.Fatal(got.err)
		}
		if _, err := all[0].Conn.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 10)
		if n, err := got.conn.Read(text); string(text[:n]) != "hello" || err != nil {
			t.Errorf("heard %q, %v", text[:n], err)
		}
		_, _, _ = all[0].Conn.Close(), got.conn.Close(), claim.Close()
		if names := left(t, dir); len(names) != 0 {
			t.Errorf("left: %q", names)
		}
	}
}

func TestOneWhomNobodyWantsEnds(t *testing.T) {
	for why, end := range map[string]func(dir string, cancel func()) error{
		"time":                                nil,
		"it is asked to":                      func(_ string, cancel func()) error { cancel(); return nil },
		"the directory of its key is removed": func(dir string, _ func()) error { return os.RemoveAll(filepath.Join(dir, key)) },
		"all is removed":                      func(dir string, _ func()) error { return os.RemoveAll(dir) },
	} {
		t.Run(why, func(t *testing.T) {
			t.Parallel() // some wait for whoever may have it
			dir := filepath.Join(t.TempDir(), "reserve")
			keep := time.Hour
			if end == nil {
				keep = 50 * time.Millisecond
			}
			ended, _, cancel := wait(t, dir, key, keep)
			if end != nil {
				if err := end(dir, cancel); err != nil {
					t.Fatal(err)
				}
			}
			if got := <-ended; !errors.Is(got.err, reserve.ErrNotWanted) {
				t.Errorf("it ended with %v", got.err)
			}
			if names := left(t, dir); len(names) != 0 {
				t.Errorf("left: %q", names)
			}
			if taken := reserve.At(dir).Take(key, self, none); taken != nil {
				t.Error("it was taken after its end")
			}
		})
	}
}

func TestAFewMayWaitAndTheOldestGivesWay(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "reserve")
	first, _, _ := wait(t, dir, key, time.Hour)
	if claim, err := reserve.At(dir).Claim(t.Context(), key, none); claim != nil || err != nil {
		t.Errorf("a second for one key: %v, %v", claim, err)
	}
	second, _, _ := wait(t, dir, other, time.Hour)
	third := reserve.Key("a third")
	last, _, _ := wait(t, dir, third, time.Hour)
	got := <-first
	if got.err != nil {
		t.Fatal(got.err)
	}
	if n, err := got.conn.Read(make([]byte, 1)); n != 0 || err == nil { // by which it ends
		t.Errorf("the oldest hears %d bytes, %v", n, err)
	}
	_ = got.conn.Close()
	for key, ended := range map[string]<-chan waiting{other: second, third: last} {
		taken := reserve.At(dir).Take(key, self, none)
		if taken == nil {
			t.Fatal("one that waits was not to be had")
		}
		got := <-ended
		_, _ = taken.Conn.Close(), got.conn.Close()
	}
}

func TestWhatOneWhoWasKilledHasLeftIsForgotten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "reserve")
	place := reserve.At(dir)
	leave := func(gone string) {
		t.Helper()
		if err := os.MkdirAll(gone, 0o700); err != nil {
			t.Fatal(err)
		}
		listener, err := rendezvous.Listen(gone, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var forgotten []string
	forget := func(id string) error { forgotten = append(forgotten, id); return nil }
	leave(filepath.Join(dir, key))
	if taken := place.Take(key, self, forget); taken != nil {
		t.Error("one that is dead was taken")
	}
	if !slices.Equal(forgotten, []string{id}) {
		t.Errorf("forgotten: %q", forgotten)
	}
	forgotten = nil
	leave(filepath.Join(dir, key))
	hidden := filepath.Join(dir, key+"-gone-"+id) // before it waited, or after that
	leave(hidden)
	leave(hidden + "-just-now")
	long := time.Now().Add(-time.Minute)
	if err := os.Chtimes(hidden, long, long); err != nil {
		t.Fatal(err)
	}
	strange := filepath.Join(dir, "README") // of nobody we know
	if err := os.WriteFile(strange, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	claim, err := place.Claim(t.Context(), other, forget)
	if err != nil || claim == nil {
		t.Fatal(claim, err)
	}
	defer claim.Close()
	if !slices.Equal(forgotten, []string{id, id}) {
		t.Errorf("forgotten: %q", forgotten)
	}
	if names := left(t, dir); len(names) != 1 { // whoever has the last one may be about to reach it
		t.Errorf("left: %q", names)
	}
	if _, err := os.Lstat(strange); err != nil {
		t.Error(err)
	}
}

func TestAnotherProgramIsNotTaken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "reserve")
	ended, _, _ := wait(t, dir, key, time.Hour)
	if taken := reserve.At(dir).Take(key, "/bin/sh", none); taken != nil {
		t.Error("it was taken for a shell")
	}
	if got := <-ended; got.err == nil { // it has the connection, of which it will only see the end
		_ = got.conn.Close()
	}
}

func TestNamesThatAreNoIDsAreNotTaken(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"socket", strings.Repeat("A", 32), id + "00"} {
		if err := os.MkdirAll(filepath.Join(dir, key, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if taken := reserve.At(dir).Take(key, self, none); taken != nil {
			t.Errorf("%q was taken", name)
		}
	}
}
