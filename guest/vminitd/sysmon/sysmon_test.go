package sysmon

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheThreadIsTheFirstThatTheRuntimeHasMade(t *testing.T) {
	for _, test := range []struct{ first, tasks, want string }{
		{"1", "1 32 33 40", "32"},
		{"100", "99 100 101 9", "101"},
		{"9", "10 100 9", "10"},
		{"7", "7", ""},
	} {
		dir := fstest.MapFS{}
		for _, name := range strings.Fields(test.tasks) {
			dir[name+"/comm"] = &fstest.MapFile{}
		}
		tasks, err := dir.ReadDir(".")
		if err != nil {
			t.Fatal(err)
		}
		if got := second(test.first, tasks); got != test.want {
			t.Errorf("of %s it is %q; want %q", test.tasks, got, test.want)
		}
	}
}

func TestThreadsAndChildrenAreAsBefore(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if err := Slow(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile("/proc/self/timerslack_ns"); err != nil || string(got) != "50000\n" {
		t.Errorf("the first thread has %q, %v", got, err)
	}
	slow := 0
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if got, err := os.ReadFile("/proc/" + task.Name() + "/timerslack_ns"); err == nil && string(got) == slack+"\n" {
			slow++
		}
	}
	if slow != 1 {
		t.Errorf("%d threads are slow", slow)
	}
}
