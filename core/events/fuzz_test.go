package events

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzRead: whatever writers that died have left in the log, reading it ends, gives no event that is too long to be one, and the next event that is appended is found.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","type":"container","action":"die","id":"x"}` + "\n" + `{"time":`))
	f.Add([]byte("\n\n{}\nnull\n[]\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		l := Log{Path: filepath.Join(t.TempDir(), "events")}
		if err := os.WriteFile(l.Path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.Append(t.Context(), Event{Type: "container", Action: "start", ID: "mine"}); err != nil {
			t.Fatal(err)
		}
		last := Event{}
		if err := l.Read(time.Time{}, func(e Event) error { last = e; return nil }); err != nil {
			t.Fatal(err)
		}
		if last.ID != "mine" {
			t.Errorf("the last event is %+v", last)
		}
	})
}
