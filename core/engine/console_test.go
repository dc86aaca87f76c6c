package engine

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/store"
)

func TestAConsoleIsFollowedFromBeforeItIsThereToTheEndOfItsMachine(t *testing.T) {
	dir := t.TempDir()
	life, path := filepath.Join(dir, "life"), filepath.Join(dir, "console.log")
	held, err := lock.Try(life)
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := copyConsole(t.Context(), w, path, life, -1)
		w.Close()
		ended <- err
	}()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"Linux version 6\n", "Run /init", " as init process\n"} {
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != text {
			t.Fatalf("%q, %v; want %q", got, err, text)
		}
	}
	if _, err := f.WriteString("end\n"); err != nil {
		t.Fatal(err)
	}
	held.Close()
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "end\n" {
		t.Errorf("in the end %q, %v", rest, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAConsoleHasNoTimes(t *testing.T) {
	e := newEngine(t)
	c, err := e.store.Create(t.Context(), store.Container{ID: store.NewID(), Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	const want = `read console of container "web": it has no times; leave out --since, --until and --timestamps`
	if err := e.Logs(t.Context(), "web", LogOptions{Boot: true, Since: time.Unix(1, 0)}, io.Discard, io.Discard); err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
}

func TestTheBoundsOfALogAreTheFlagsOrTheConfigurations(t *testing.T) {
	e := newEngine(t)
	e.config.Defaults.LogMaxSize, e.config.Defaults.LogMaxFiles = 1<<20, 7
	l := store.LogLimits{MaxFiles: 2}
	if err := e.checkLog(&l); err != nil || l != (store.LogLimits{MaxBytes: 1 << 20, MaxFiles: 2}) {
		t.Errorf("%+v, %v", l, err)
	}
	for want, l := range map[string]store.LogLimits{
		"bound the log: files of 100 bytes are too small; give at least max-size=4k, or -1 for no bound": {MaxBytes: 100},
		"bound the log: there cannot be 1001 files; give max-file from 1 to 1000":                        {MaxFiles: 1001},
	} {
		if err := e.checkLog(&l); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}
