package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUsageIsWhatTheKernelWrites(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"cpu.stat":       "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 0\n",
		"memory.current": "4096\n",
		"memory.stat":    "anon 1\ninactive_anon 7\ninactive_file 2048\nactive_file 3\n",
		"memory.max":     "max\n",
		"pids.current":   "3\n",
		"pids.max":       "100\n",
		"io.stat":        "254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n254:16 rbytes=1 wbytes=2 rios=1 wios=2 dbytes=0 dios=0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := (&Group{dir: dir}).Usage()
	want := Usage{CPU: 1_500_000, CPUSystem: 500_000, Memory: 4096, MemoryReclaimable: 2048, Pids: 3, PidsLimit: 100, BlockRead: 11, BlockWrite: 22}
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}
