package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lock"
)

// talk is a daemon that has much to say before it ends.
func talk(path string) {
	l := NewLog(path)
	l.limit = 1000
	for i := range 100 {
		if _, err := fmt.Fprintf(l, "%049d\n", i); err != nil {
			panic(err)
		}
	}
	fmt.Fprintln(os.Stderr, "the last word")
	os.Exit(1)
}

func TestTheLogOfADaemonIsBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	if err := os.WriteFile(path, []byte(strings.Repeat("old\n", maxLog/4)), 0o600); err != nil {
		t.Fatal(err)
	}
	life, err := lock.Try(filepath.Join(dir, "life"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(Spec{Program: []string{os.Args[0]}, Sockets: []string{filepath.Join(dir, "socket")}, Life: life,
		LogPath: path, Env: []string{"DAEMON_TEST=1", "DAEMON_TEST_LOG=" + path}})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	var kept string
	for _, name := range []string{path + ".1", path} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 1050 {
			t.Errorf("%s has %d bytes", name, len(text))
		}
		kept += string(text)
	}
	if !strings.HasSuffix(kept, fmt.Sprintf("%049d\n%049d\nthe last word\n", 98, 99)) || strings.Count(kept, "\n") < 20 {
		t.Errorf("what is kept is %q", kept)
	}
	if words := p.LastWords(); !strings.HasSuffix(words, "the last word") {
		t.Errorf("last words %q", words)
	}
}
