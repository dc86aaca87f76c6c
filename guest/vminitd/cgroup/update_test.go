package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// plain is a cgroup of plain files, as if the kernel took every value. All values of a file are of one length, as nothing cuts it.
func plain(t *testing.T, files map[string]string) *Group {
	t.Helper()
	g := &Group{dir: t.TempDir()}
	for name, value := range files {
		if err := os.WriteFile(filepath.Join(g.dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.open(); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return g
}

func TestAnUpdateIsWholeOrNone(t *testing.T) {
	before := map[string]string{"cpu.weight": "111", "memory.max": "800", "memory.high": "max", "memory.current": "500"}
	shares := &specs.LinuxCPU{Shares: number(uint64(4096))}
	tests := []struct {
		name  string
		in    specs.LinuxResources
		after map[string]string // what is others than before
		says  string
	}{
		{"all", specs.LinuxResources{CPU: shares, Memory: &specs.LinuxMemory{Limit: number(int64(600))}}, map[string]string{"cpu.weight": "157", "memory.max": "600"}, ""},
		{"a file that there is not", specs.LinuxResources{CPU: shares, Pids: &specs.LinuxPids{Limit: number(int64(7))}}, nil, "pids.max"},
		{"less memory than is used", specs.LinuxResources{CPU: shares, Memory: &specs.LinuxMemory{Limit: number(int64(400))}}, nil, "of memory, which is more than"},
		{"what there is no means for", specs.LinuxResources{CPU: shares, BlockIO: &specs.LinuxBlockIO{Weight: number(uint16(500))}}, nil, "blockIO"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := plain(t, before)
			err := g.Update(&test.in)
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v", err)
			}
			for file, want := range before {
				if changed, ok := test.after[file]; ok {
					want = changed
				}
				if got, err := g.read(file); err != nil || got != want {
					t.Errorf("%s has %q, %v; want %q", file, got, err, want)
				}
			}
		})
	}
}

func TestOOMIsToldOnceForAllBefore(t *testing.T) {
	g := plain(t, map[string]string{"memory.events": "low 0\noom_kill 2\n"})
	told := make(chan struct{}, 8)
	stop, err := g.WatchOOM(func() { told <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	<-told
	for _, kills := range []string{"2", "3"} {
		if err := write(g.dir, "memory.events", "low 0\noom_kill "+kills+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	<-told
	stop()
	if len(told) > 0 {
		t.Error("it was told although nobody was killed")
	}
}
