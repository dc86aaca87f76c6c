package containerlog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func create(t testing.TB, path string) *Writer {
	t.Helper()
	w, err := Create(deadline(t), path, Limits{MaxBytes: Unlimited})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func write(t testing.TB, w *Writer, stream Stream, text string) {
	t.Helper()
	if n, err := w.Write(stream, []byte(text)); err != nil || n != len(text) {
		t.Fatalf("%d of %d written, %v", n, len(text), err)
	}
}

func replay(t testing.TB, path string, options Options) (stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	if err := Replay(deadline(t), path, options, &out, &err); err != nil {
		t.Fatal(err)
	}
	return out.String(), err.String()
}

var all = Options{Tail: -1}

func TestEveryByteComesBackOnItsStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	random := rand.New(rand.NewPCG(1, 2))
	var want [3]bytes.Buffer
	for range 200 {
		piece := make([]byte, random.IntN(5000))
		if random.IntN(50) == 0 {
			piece = make([]byte, 2*maxPiece+random.IntN(100)) // longer than a record
		}
		for i := range piece {
			piece[i] = byte(random.Uint32())
		}
		stream := Stdout + Stream(random.IntN(2))
		want[stream].Write(piece)
		write(t, w, stream, string(piece))
	}
	if info, err := os.Stat(path); err != nil || info.Size() != w.Size() || info.Mode().Perm() != 0o600 {
		t.Errorf("size %d, want %d; mode %v, %v", info.Size(), w.Size(), info.Mode(), err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := replay(t, path, all)
	if stdout != want[Stdout].String() || stderr != want[Stderr].String() {
		t.Error("the streams differ from what was written")
	}
	if err := Replay(deadline(t), path, all, nil, nil); err != nil {
		t.Errorf("without anyone who wants it: %v", err)
	}
}

func TestLastLinesOfBothStreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	defer w.Close()
	for i, text := range []string{"one\ntwo\n", "three\n", "four\nfi", "ve\n", "six"} {
		write(t, w, []Stream{Stdout, Stderr}[i%2], text)
	}
	tests := []struct {
		tail           int
		stdout, stderr string
	}{
		{-1, "one\ntwo\nfour\nfisix", "three\nve\n"},
		{100, "one\ntwo\nfour\nfisix", "three\nve\n"},
		{4, "four\nfisix", "three\nve\n"},
		{1, "six", ""},
		{0, "", ""},
	}
	for _, test := range tests {
		stdout, stderr := replay(t, path, Options{Tail: test.tail})
		if stdout != test.stdout || stderr != test.stderr {
			t.Errorf("tail %d: %q, %q", test.tail, stdout, stderr)
		}
	}
}

func TestOnlyWhatCameSinceATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	defer w.Close()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	w.now = func() time.Time { now = now.Add(time.Second); return now }
	write(t, w, Stdout, "a\n")
	write(t, w, Stdout, "b\n")
	write(t, w, Stdout, "c\n")
	if stdout, _ := replay(t, path, Options{Tail: -1, Since: now.Add(-time.Second)}); stdout != "b\nc\n" {
		t.Errorf("got %q", stdout)
	}
}

func TestRecordTornByADeathIsReadAsFarAsItGoesAndCutOffByTheNextWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	write(t, w, Stdout, "first\n")
	whole := w.Size()
	write(t, w, Stdout, "second\n")
	size := w.Size()
	w.Close()
	for cut := whole; cut < size; cut++ {
		if err := os.Truncate(path, cut); err != nil {
			t.Fatal(err)
		}
		want := "first\n" + "second\n"[:max(0, cut-whole-headerSize)]
		if stdout, _ := replay(t, path, all); stdout != want {
			t.Errorf("cut at %d: %q, want %q", cut, stdout, want)
		}
		w := create(t, path)
		write(t, w, Stdout, "second\n")
		w.Close()
		if stdout, _ := replay(t, path, all); stdout != "first\nsecond\n" {
			t.Errorf("cut at %d and continued: %q", cut, stdout)
		}
	}
}

func TestDamageIsToldWithItsPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	write(t, w, Stdout, "good")
	at := w.Size()
	w.Close()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(strings.Repeat("x", 100)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	var out bytes.Buffer
	err = Replay(deadline(t), path, all, &out, nil)
	damage, ok := errors.AsType[*CorruptError](err)
	if !ok || damage.Offset != at || out.String() != "good" {
		t.Errorf("error %v after %q", err, &out)
	}
	if _, err := Create(deadline(t), path, Limits{MaxBytes: Unlimited}); err == nil {
		t.Error("a writer goes on after damage")
	}
}

func TestMissingLogIsNotExist(t *testing.T) {
	err := Replay(deadline(t), filepath.Join(t.TempDir(), "log"), all, nil, nil)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestFollowerSeesAllAndEndsWithTheWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	write(t, w, Stdout, "before ")
	r, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := Replay(deadline(t), path, Options{Follow: true, Tail: -1}, out, nil)
		out.Close()
		ended <- err
	}()
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	expect("before ")
	for range 100 {
		write(t, w, Stdout, "more ")
		expect("more ")
	}
	var rest sync.WaitGroup
	rest.Go(func() {
		if got, err := io.ReadAll(r); err != nil || string(got) != "end" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	write(t, w, Stdout, "end")
	w.Close()
	rest.Wait()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestFollowingALogWithoutWriterEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	write(t, w, Stdout, "all")
	w.Close()
	if stdout, _ := replay(t, path, Options{Follow: true, Tail: -1}); stdout != "all" {
		t.Errorf("got %q", stdout)
	}
}

func TestFollowerEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Replay(ctx, path, Options{Follow: true, Tail: -1}, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestStreamsMayBeWrittenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	var writers sync.WaitGroup
	for _, stream := range []Stream{Stdout, Stderr} {
		writers.Go(func() {
			for range 500 {
				if _, err := io.WriteString(w.Stream(stream), "line\n"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	w.Close()
	want := strings.Repeat("line\n", 500)
	if stdout, stderr := replay(t, path, all); stdout != want || stderr != want {
		t.Error("the streams differ from what was written")
	}
}

func FuzzReplay(f *testing.F) {
	path := filepath.Join(f.TempDir(), "log")
	w := create(f, path)
	write(f, w, Stdout, "out\n")
	write(f, w, Stderr, "err")
	w.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, -1)
	f.Add(good[:len(good)-1], 1)
	f.Add(append(good, 3), 0)
	f.Fuzz(func(t *testing.T, content []byte, tail int) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := Replay(t.Context(), path, Options{Tail: tail}, &out, &out)
		if _, ok := errors.AsType[*CorruptError](err); err != nil && !ok {
			t.Errorf("error %v", err)
		}
		if out.Len() > len(content) {
			t.Errorf("%d bytes came out of %d", out.Len(), len(content))
		}
		if err != nil {
			return
		}
		w, err := Create(t.Context(), path, Limits{})
		if err != nil {
			t.Fatalf("readable, but not to be continued: %v", err)
		}
		defer w.Close()
		if w.Size() > int64(len(content)) {
			t.Errorf("size %d of %d", w.Size(), len(content))
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	w := create(b, filepath.Join(b.TempDir(), "log"))
	defer w.Close()
	piece := make([]byte, 64<<10)
	b.SetBytes(int64(len(piece)))
	for b.Loop() {
		if w.Size() > 256<<20 { // stay in memory
			if err := w.held.File().Truncate(0); err != nil {
				b.Fatal(err)
			}
			if _, err := w.held.File().Seek(0, io.SeekStart); err != nil {
				b.Fatal(err)
			}
			w.size = 0
		}
		if _, err := w.Write(Stdout, piece); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	path := filepath.Join(b.TempDir(), "log")
	w := create(b, path)
	for range 1024 {
		if _, err := w.Write(Stdout, make([]byte, 64<<10)); err != nil {
			b.Fatal(err)
		}
	}
	w.Close()
	b.SetBytes(64 << 20)
	for b.Loop() {
		if err := Replay(b.Context(), path, all, io.Discard, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
