package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Usage is what the processes of a cgroup have used since it was made. Sizes are in bytes, times in nanoseconds; a limit of 0 is none.
type Usage struct {
	CPU, CPUSystem                         uint64
	Memory, MemoryReclaimable, MemoryLimit uint64
	Pids, PidsLimit                        uint64
	BlockRead, BlockWrite                  uint64
}

// Usage reads it.
func (g *Group) Usage() (Usage, error) {
	files := map[string]string{}
	for _, name := range []string{"cpu.stat", "memory.current", "memory.stat", "memory.max", "pids.current", "pids.max", "io.stat"} {
		text, err := os.ReadFile(filepath.Join(g.dir, name))
		if err != nil {
			return Usage{}, err
		}
		files[name] = strings.TrimSpace(string(text))
	}
	u := Usage{
		CPU: 1000 * value(files["cpu.stat"], "usage_usec"), CPUSystem: 1000 * value(files["cpu.stat"], "system_usec"),
		Memory: count(files["memory.current"]), MemoryReclaimable: value(files["memory.stat"], "inactive_file"), MemoryLimit: count(files["memory.max"]),
		Pids: count(files["pids.current"]), PidsLimit: count(files["pids.max"]),
	}
	u.BlockRead, u.BlockWrite = blockBytes(files["io.stat"])
	return u, nil
}

// count reads a number of the kernel; "max" is 0.
func count(text string) uint64 {
	n, _ := strconv.ParseUint(text, 10, 64) // written by the kernel
	return n
}

// value finds the number behind a name at the beginning of a line.
func value(text, name string) uint64 {
	for line := range strings.Lines(text) {
		if number, ok := strings.CutPrefix(line, name+" "); ok {
			return count(strings.TrimSpace(number))
		}
	}
	return 0
}

// blockBytes adds up lines like "254:0 rbytes=1 wbytes=2 rios=3 ...". A disk that is stacked on another does not count there again.
func blockBytes(text string) (read, written uint64) {
	for line := range strings.Lines(text) {
		for _, field := range strings.Fields(line) {
			switch key, number, _ := strings.Cut(field, "="); key {
			case "rbytes":
				read += count(number)
			case "wbytes":
				written += count(number)
			}
		}
	}
	return read, written
}

// AllProcesses returns the ids of all processes of the cgroup and of those below it, which a container may have made.
func (g *Group) AllProcesses() ([]int, error) {
	pids, err := g.Processes()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		below, err := (&Group{dir: filepath.Join(g.dir, e.Name())}).AllProcesses()
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // removed meanwhile, or of threads
		}
		if err != nil {
			return nil, err
		}
		pids = append(pids, below...)
	}
	return pids, nil
}
