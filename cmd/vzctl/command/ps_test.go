package command

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/engine"
)

func TestTopTakesOptionsOfPs(t *testing.T) {
	shell := engine.Process{PID: 12, Parent: 1, User: "app", UserID: 1000, State: "S", CPU: 3 * time.Second, Age: 26*time.Hour + 5*time.Minute + 7*time.Second, MemoryBytes: 2 << 20, Terminal: "pts/0", Command: "/bin/sh -c x"}
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		options    string
		heads, row string
	}{
		{"-o pid,args", "PID COMMAND", "12|/bin/sh -c x"},
		{"-eo pid=,comm=NAME", " NAME", "12|sh"},
		{"-opid -o uid", "PID UID", "12|1000"},
		{"-ef", "UID PID PPID C STIME TTY TIME CMD", "app|12|1|0|Mar03|pts/0|00:00:03|/bin/sh -c x"},
		{"aux", "USER PID %CPU RSS TTY S START TIME COMMAND", "app|12|0.0|2048|pts/0|S|Mar03|00:00:03|/bin/sh -c x"},
		{"-A", "PID TTY TIME CMD", "12|pts/0|00:00:03|sh"},
		{"-o etime,etimes", "ELAPSED ELAPSED", "1-02:05:07|93907"},
		{"-o vsz", "there is no column \"vsz\"", ""},
		{"-o", "a list of columns is missing", ""},
		{"-Z", "is not known; use aux, -ef", ""},
		{"--format json", "is not known; use aux, -ef", ""},
	} {
		table, err := psColumns(strings.Fields(test.options), now)
		if test.row == "" {
			if err == nil || !strings.Contains(err.Error(), test.heads) {
				t.Errorf("%s: %v", test.options, err)
			}
			continue
		}
		heads := strings.ReplaceAll(test.heads, "STIME", "START")
		if err != nil || !slices.Equal(table.heads, strings.Split(heads, " ")) || strings.Join(table.row(shell), "|") != test.row {
			t.Errorf("%s: %q, %q, %v", test.options, table.heads, table.row(shell), err)
		}
	}
}
