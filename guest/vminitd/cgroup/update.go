package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Update changes the limits that are set, and those of the disks that are named, of a cgroup whose processes may run. After an error all are as they were. One at a time.
func (g *Group) Update(resources *specs.LinuxResources, disks ...IOLimit) error {
	settings, err := limits(resources)
	if err != nil {
		return err
	}
	ofDisks, err := ioLimits(disks)
	if err != nil {
		return err
	}
	settings = append(settings, ofDisks...)
	var undo []setting
	for _, s := range settings {
		before, err := g.read(s.file)
		if err == nil && s.file == memoryFile {
			err = g.makeRoom(s.value)
		}
		if err == nil {
			if err = write(g.dir, s.file, s.value); err == nil {
				undo = append(undo, s.undoing(before))
				continue
			}
			err = fmt.Errorf("set %s to %s: %w", s.file, s.value, err)
		}
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, write(g.dir, undo[i].file, undo[i].value))
		}
		return err
	}
	return nil
}

const (
	memoryFile = "memory.max"
	// highFile has what memory is reclaimed down to, without anybody being killed.
	highFile = "memory.high"
)

// makeRoom refuses a limit of memory that is below what cannot be reclaimed: the kernel would kill the container's processes to keep it.
func (g *Group) makeRoom(limit string) error {
	most, err := strconv.ParseUint(limit, 10, 64)
	if err != nil {
		return nil // no limit
	}
	high, err := g.read(highFile)
	if err != nil {
		return err
	}
	if err := write(g.dir, highFile, limit); err != nil { // returns when it has reclaimed what it could
		return err
	}
	text, err := g.read("memory.current")
	used, _ := strconv.ParseUint(text, 10, 64) // written by the kernel
	if err = errors.Join(err, write(g.dir, highFile, high)); err != nil {
		return err
	}
	if used > most {
		const mib = 1 << 20
		return fmt.Errorf("its processes use %d MiB of memory, which is more than %d MiB", used/mib, most/mib)
	}
	return nil
}

func (g *Group) read(file string) (string, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	return strings.TrimSpace(string(text)), err
}
