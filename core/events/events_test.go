package events

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newLog(t *testing.T) Log { return Log{Path: filepath.Join(t.TempDir(), "events.log")} }

func add(t *testing.T, l Log, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := l.Append(deadline(t), Event{Type: "container", Action: "start", ID: id}); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, l Log, since time.Time) string {
	t.Helper()
	var ids []string
	if err := l.Read(since, func(e Event) error { ids = append(ids, e.ID); return nil }); err != nil {
		t.Fatal(err)
	}
	return strings.Join(ids, " ")
}

func TestEventsAreReadInOrderSinceATime(t *testing.T) {
	l := newLog(t)
	if got := read(t, l, time.Time{}); got != "" {
		t.Errorf("a log that is missing has %q", got)
	}
	add(t, l, "a", "b")
	since := time.Now()
	add(t, l, "c")
	if got := read(t, l, time.Time{}); got != "a b c" {
		t.Errorf("got %q", got)
	}
	if got := read(t, l, since); got != "c" {
		t.Errorf("since b: %q", got)
	}
	if info, err := os.Stat(l.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestLogStaysSmallAndKeepsTheNewest(t *testing.T) {
	l := newLog(t)
	l.MaxBytes = 1000
	for i := range 100 {
		add(t, l, fmt.Sprint(i))
	}
	var size int64
	for _, path := range []string{l.Path, l.Path + ".1"} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 2200 {
		t.Errorf("the log has %d bytes", size)
	}
	if got := read(t, l, time.Time{}); !strings.HasSuffix(got, "95 96 97 98 99") || strings.HasPrefix(got, "0 ") {
		t.Errorf("got %q", got)
	}
}

func TestLinesOfWritersThatDiedAreSkipped(t *testing.T) {
	l := newLog(t)
	add(t, l, "a")
	f, err := os.OpenFile(l.Path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("\x00\n" + strings.Repeat("x", 3*maxLine) + "\n{\"id\":\"torn"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	add(t, l, "b")
	if got := read(t, l, time.Time{}); got != "a b" {
		t.Errorf("got %q", got)
	}
}

var errEnough = errors.New("enough")

// follow until the event "end" and return what came.
func follow(t *testing.T, l Log, since time.Time, ready chan<- struct{}) string {
	var ids []string
	err := l.Follow(deadline(t), since, func(e Event) error {
		if e.ID == "ready" {
			if ready != nil {
				close(ready)
				ready = nil
			}
			return nil
		}
		if e.ID == "end" {
			return errEnough
		}
		ids = append(ids, e.ID)
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("error %v", err)
	}
	return strings.Join(ids, " ")
}

func TestFollowerSeesWhatWasAndWhatComesAcrossRotation(t *testing.T) {
	l := newLog(t)
	l.MaxBytes = 500
	start := time.Now()
	add(t, l, "old", "ready")
	ready, got := make(chan struct{}), make(chan string)
	go func() { got <- follow(t, l, start, ready) }()
	<-ready
	want := "old"
	for i := range 20 { // several times the log's size
		add(t, l, fmt.Sprint(i))
		want += fmt.Sprint(" ", i)
		if i%4 == 3 {
			waitRead(t, l, start, fmt.Sprint(i))
		}
	}
	add(t, l, "end")
	if seen := <-got; !isSubsequence(strings.Fields(seen), strings.Fields(want)) || !strings.HasPrefix(seen, "old 0 ") {
		t.Errorf("got %q, want %q", seen, want)
	}
}

// isSubsequence reports whether got has some of want, in order and none twice: a follower two rotations behind misses events.
func isSubsequence(got, want []string) bool {
	for _, w := range want {
		if len(got) > 0 && got[0] == w {
			got = got[1:]
		}
	}
	return len(got) == 0
}

// waitRead follows the log itself until the event of an id is there.
func waitRead(t *testing.T, l Log, since time.Time, id string) {
	t.Helper()
	err := l.Follow(deadline(t), since, func(e Event) error {
		if e.ID == id {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
}

func TestManyWritersAndAFollower(t *testing.T) {
	l := newLog(t)
	start := time.Now()
	add(t, l, "ready")
	ready := make(chan struct{})
	count := make(chan int)
	go func() { count <- len(strings.Fields(follow(t, l, start, ready))) }()
	<-ready
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 50 {
				if err := l.Append(deadline(t), Event{ID: fmt.Sprintf("%d-%d", w, i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	add(t, l, "end")
	if n := <-count; n != 200 {
		t.Errorf("%d of 200 events were seen", n)
	}
}

func TestFollowingNothingEndsWithTheContext(t *testing.T) {
	l := newLog(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Follow(ctx, time.Time{}, func(Event) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
