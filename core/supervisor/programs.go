package supervisor

import (
	"path"
	"slices"
	"strings"

	"github.com/vzctl/vzctl/core/store"
)

// Bounds of what programs returns, see vzctl.hypervisor.v1.Disk.
const (
	maxPrograms = 32
	maxPath     = 255 // bytes
)

// programs are the paths in the image where the process's program may be.
func programs(p store.Process) []string {
	if len(p.Args) == 0 || p.Args[0] == "" {
		return nil
	}
	name := p.Args[0]
	if strings.Contains(name, "/") {
		return short([]string{absolute(p.WorkingDir, name)})
	}
	var paths []string
	for _, variable := range p.Env {
		if list, found := strings.CutPrefix(variable, "PATH="); found {
			paths = nil // the last one counts
			for dir := range strings.SplitSeq(list, ":") {
				if path.IsAbs(dir) && len(paths) < maxPrograms {
					paths = append(paths, path.Join(dir, name))
				}
			}
		}
	}
	return short(paths)
}

// short leaves long ones out: they are hints.
func short(paths []string) []string {
	return slices.DeleteFunc(paths, func(path string) bool { return len(path) > maxPath })
}

func absolute(dir, name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join("/", dir, name)
}
