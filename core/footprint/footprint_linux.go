// Package footprint tells what a process has of the host: memory, with all its descendants, and time of its processors.
package footprint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Of adds up the proportional sets of a process and its descendants, in bytes: memory that several processes share counts for each of them by its part. Those that end
// meanwhile, or are not the caller's to look at, are left out.
func Of(pid int) (uint64, error) { return of("/proc", pid) }

func of(proc string, pid int) (uint64, error) {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	sum, err := proportional(filepath.Join(dir, "smaps_rollup"))
	if gone(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	tasks, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil && !gone(err) {
		return 0, err
	}
	for _, task := range tasks {
		children, err := os.ReadFile(filepath.Join(dir, "task", task.Name(), "children"))
		if err != nil && !gone(err) {
			return 0, err
		}
		for _, field := range strings.Fields(string(children)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			part, err := of(proc, child)
			if err != nil {
				return 0, err
			}
			sum += part
		}
	}
	return sum, nil
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrPermission)
}

// proportional reads the line "Pss:  123 kB".
func proportional(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Pss:" {
			n, err := strconv.ParseUint(fields[1], 10, 54)
			return n << 10, err
		}
	}
	return 0, nil
}
