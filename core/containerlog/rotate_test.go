package containerlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// limited is a log of small files.
func limited(t testing.TB, path string, files int) *Writer {
	t.Helper()
	w, err := Create(deadline(t), path, Limits{MaxBytes: MinBytes, MaxFiles: files})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// numbered writes lines of 100 bytes, of which 35 fill a file.
func numbered(t *testing.T, w *Writer, from, to int) (text string) {
	t.Helper()
	for i := from; i < to; i++ {
		line := fmt.Sprintf("%099d\n", i)
		write(t, w, Stdout, line)
		text += line
	}
	return text
}

func names(t *testing.T, path string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > MinBytes {
			t.Errorf("%s has %d bytes, more than it may", e.Name(), info.Size())
		}
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestAFullLogIsPutAsideAndTheOldestIsRemoved(t *testing.T) {
	for _, test := range []struct {
		files int
		names string
		lines int // that are left of 180
	}{
		{1, "log", 5}, {2, "log log.5", 40}, {3, "log log.4 log.5", 75}, {10, "log log.1 log.2 log.3 log.4 log.5", 180},
	} {
		t.Run(fmt.Sprint(test.files), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			w := limited(t, path, test.files)
			text := numbered(t, w, 0, 180)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if got := names(t, path); got != test.names {
				t.Errorf("there are %s, want %s", got, test.names)
			}
			if stdout, _ := replay(t, path, all); stdout != text[len(text)-100*test.lines:] {
				t.Errorf("%d bytes are left, want %d: %.110q", len(stdout), 100*test.lines, stdout)
			}
		})
	}
}

func TestAPieceLongerThanAFileIsCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := limited(t, path, 20)
	text := strings.Repeat("0123456789", 3000)
	write(t, w, Stderr, "before\n")
	write(t, w, Stdout, text)
	w.Close()
	names(t, path)
	if stdout, stderr := replay(t, path, all); stdout != text || stderr != "before\n" {
		t.Errorf("%d bytes came back of %d, %q", len(stdout), len(text), stderr)
	}
}

func TestTheNextRunGoesOnWithTheNumbers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var text string
	for run := range 5 {
		w := limited(t, path, 3)
		text += numbered(t, w, run*50, run*50+50)
		if err := w.Sync(); err != nil {
			t.Error(err)
		}
		w.Close()
	}
	if got := names(t, path); got != "log log.6 log.7" {
		t.Errorf("there are %s", got)
	}
	if stdout, _ := replay(t, path, all); !strings.HasSuffix(text, stdout) || len(stdout) != 75*100 {
		t.Errorf("%d bytes came back: %.110q", len(stdout), stdout)
	}
}

func TestTheLastLinesMayLieInSeveralFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := limited(t, path, 10)
	defer w.Close()
	text := numbered(t, w, 0, 180)
	for _, lines := range []int{0, 1, 4, 5, 6, 39, 40, 41, 100, 180, 500} {
		want := text[max(0, len(text)-100*lines):]
		if stdout, _ := replay(t, path, Options{Tail: lines}); stdout != want {
			t.Errorf("%d lines: %d bytes, want %d", lines, len(stdout), len(want))
		}
	}
	write(t, w, Stdout, "open")
	if stdout, _ := replay(t, path, Options{Tail: 7}); stdout != text[len(text)-600:]+"open" {
		t.Errorf("the last line has no end: %d bytes", len(stdout))
	}
}

func TestAWriterThatDiedWhilePuttingAsideLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := limited(t, path, 3)
	text := numbered(t, w, 0, 70) // and the second file is full
	w.Close()
	// It had made the second name, and begun with the next file.
	if err := os.Link(path, path+".2"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+nextSuffix, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, _ := replay(t, path, Options{Tail: -1, Follow: true}); stdout != text {
		t.Errorf("%d bytes came back, want %d", len(stdout), len(text))
	}
	w = limited(t, path, 3)
	text += numbered(t, w, 70, 75)
	w.Close()
	if stdout, _ := replay(t, path, all); stdout != text {
		t.Errorf("%d bytes came back, want %d", len(stdout), len(text))
	}
	if got := names(t, path); got != "log log.1 log.2" {
		t.Errorf("there are %s", got)
	}
}

func TestALogThatCannotBePutAsideGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := limited(t, path, 3)
	if err := os.Mkdir(path+nextSuffix, 0o700); err != nil {
		t.Fatal(err)
	}
	text := numbered(t, w, 0, 100)
	if err := w.Close(); err == nil {
		t.Error("nobody is told")
	}
	if stdout, _ := replay(t, path, all); stdout != text {
		t.Errorf("%d bytes came back, want %d", len(stdout), len(text))
	}
}

func TestAFollowerSeesAllThroughEveryFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := limited(t, path, 3)
	want := numbered(t, w, 0, 50)
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
	expect(want)
	for i := 50; i < 500; i++ {
		expect(numbered(t, w, i, i+1))
	}
	// A reader that is a file behind finds it.
	want = numbered(t, w, 500, 550)
	expect(want)
	go w.Close()
	if rest, err := io.ReadAll(r); err != nil || len(rest) != 0 {
		t.Errorf("%q, %v at the end", rest, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A follower reads what it had opened before that was removed, and then what is left.
func TestAFollowerThatIsTooSlowGoesOnWithWhatIsLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := limited(t, path, 2)
	first := numbered(t, w, 0, 10)
	r, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := Replay(deadline(t), path, Options{Follow: true, Tail: -1}, out, nil)
		out.Close()
		ended <- err
	}()
	if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	text := numbered(t, w, 10, 300)
	w.Close()
	rest, err := io.ReadAll(r)
	if err != nil || !strings.HasPrefix(string(rest), first[100:]) || !strings.HasSuffix(text, string(rest[len(rest)-100*20:])) {
		t.Errorf("%d bytes, %v: %.300q", len(rest), err, rest)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// ticking gives records times, one second apart.
func ticking(w *Writer) (start time.Time) {
	start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	w.now = func() time.Time { now = now.Add(time.Second); return now }
	return start
}

func TestATimeIsPutBeforeEachLineOfEachStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	defer w.Close()
	ticking(w)
	write(t, w, Stdout, "a\nb\nc")
	write(t, w, Stderr, "x\n")
	write(t, w, Stdout, "c\n\n")
	stdout, stderr := replay(t, path, Options{Tail: -1, Timestamps: true})
	const first, third = "2030-01-01T00:00:01.000000000Z ", "2030-01-01T00:00:03.000000000Z "
	if want := first + "a\n" + first + "b\n" + first + "cc\n" + third + "\n"; stdout != want {
		t.Errorf("got %q, want %q", stdout, want)
	}
	if want := "2030-01-01T00:00:02.000000000Z x\n"; stderr != want {
		t.Errorf("got %q, want %q", stderr, want)
	}
	if stdout, _ := replay(t, path, Options{Tail: 2, Timestamps: true}); stdout != third+"c\n"+third+"\n" {
		t.Errorf("the last lines are %q", stdout)
	}
}

func TestSinceAndUntilGoThroughAllFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := limited(t, path, 10)
	defer w.Close()
	start := ticking(w)
	text := numbered(t, w, 0, 180)
	for _, test := range []struct{ since, until, tail, from, to int }{
		{1, 180, -1, 0, 180}, {30, 100, -1, 29, 100}, {0, 5, -1, 0, 5}, {150, 0, -1, 149, 180}, {0, 100, 10, 90, 100}, {98, 100, 10, 97, 100}, {300, 0, -1, 180, 180},
	} {
		options := Options{Tail: test.tail, Since: start.Add(time.Duration(test.since) * time.Second)}
		if test.until > 0 {
			options.Until = start.Add(time.Duration(test.until) * time.Second)
		}
		// The files' own times are today's, which is before 2030.
		setTimes(t, path, start.Add(time.Hour))
		if stdout, _ := replay(t, path, options); stdout != text[100*test.from:100*test.to] {
			t.Errorf("%+v: %d bytes: %.110q", test, len(stdout), stdout)
		}
	}
}

func setTimes(t *testing.T, path string, to time.Time) {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Chtimes(f, to, to); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFollowingEndsAtTheTimeUntilWhichItWasAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	defer w.Close()
	write(t, w, Stdout, "a\n")
	var out bytes.Buffer
	if err := Replay(deadline(t), path, Options{Follow: true, Tail: -1, Until: time.Now().Add(50 * time.Millisecond)}, &out, nil); err != nil || out.String() != "a\n" {
		t.Errorf("%q, %v", &out, err)
	}
}

func TestFollowingALogThatIsRemovedEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w := create(t, path)
	write(t, w, Stdout, "a\n")
	r, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Replay(deadline(t), path, Options{Follow: true, Tail: -1}, out, nil) }()
	if _, err := io.ReadFull(r, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := <-ended; err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func BenchmarkWriteAndPutAside(b *testing.B) {
	w, err := Create(deadline(b), filepath.Join(b.TempDir(), "log"), Limits{})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	piece := make([]byte, 64<<10)
	b.SetBytes(int64(len(piece)))
	for b.Loop() {
		if _, err := w.Write(Stdout, piece); err != nil {
			b.Fatal(err)
		}
	}
}
