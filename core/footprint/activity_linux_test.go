package footprint

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestActivityIsReadAfterANameOfAnyKind(t *testing.T) {
	for name, test := range map[string]struct {
		stat string
		want Activity
	}{
		"asleep":          {"7 (qemu) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 9 9 20 0 4 0 100", Activity{CPU: 2 * time.Second}},
		"stopped":         {"7 (a) b (c) T 1 7 7 0 -1 4194560 100 0 0 0 0 1 9 9 20 0 4 0 100", Activity{CPU: 10 * time.Millisecond, Stopped: true}},
		"being looked at": {"7 () t 1 7 7 0 -1 4194560 100 0 0 0 0 0", Activity{Stopped: true}},
	} {
		t.Run(name, func(t *testing.T) {
			proc := t.TempDir()
			if err := os.Mkdir(filepath.Join(proc, "7"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(proc, "7", "stat"), []byte(test.stat+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := activityOf(proc, 7); err != nil || got != test.want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	if got, err := activityOf(t.TempDir(), 7); err == nil {
		t.Errorf("of no process: %+v", got)
	}
}

func TestActivityOfThisProcess(t *testing.T) {
	if got, err := ActivityOf(os.Getpid()); err != nil || got.Stopped {
		t.Errorf("%+v, %v", got, err)
	}
}
