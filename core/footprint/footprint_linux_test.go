package footprint

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestMemoryIsThatOfAProcessAndAllBelowIt(t *testing.T) {
	proc := t.TempDir()
	for pid, files := range map[string][2]string{
		"1": {"5-6 rw-p\nRss: 100 kB\nPss:                   7 kB\nPss_Dirty: 9 kB\n", "2 3 \n"},
		"2": {"Pss: 20 kB\n", "4\n"},
		"3": {"Pss: 300 kB\n", ""},
		// 4 has ended
	} {
		task := filepath.Join(proc, pid, "task", pid)
		if err := os.MkdirAll(task, 0o700); err != nil {
			t.Fatal(err)
		}
		for path, text := range map[string]string{filepath.Join(proc, pid, "smaps_rollup"): files[0], filepath.Join(task, "children"): files[1]} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := of(proc, 1); err != nil || got != 327<<10 {
		t.Errorf("%d, %v; want %d", got, err, 327<<10)
	}
}

func TestMemoryOfThisProcessGrowsWithAChild(t *testing.T) {
	alone, err := Of(os.Getpid())
	if err != nil || alone == 0 {
		t.Fatalf("%d, %v", alone, err)
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait() // it was killed
	}()
	if part, err := Of(child.Process.Pid); err != nil || part == 0 {
		t.Errorf("the child has %d, %v", part, err)
	}
}
