package engine

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

// IOKind is what of the use of a disk is limited.
type IOKind string

// The kinds.
const (
	IOReadBytes       IOKind = "read-bps"
	IOWriteBytes      IOKind = "write-bps"
	IOReadOperations  IOKind = "read-iops"
	IOWriteOperations IOKind = "write-iops"
)

// IOLimit is a limit of a disk, for all processes of a container together.
type IOLimit struct {
	Kind IOKind
	// Path is where the disk is mounted in the container: "/", of whose disks each has the limit, or where a volume is.
	Path string
	// PerSecond is how many bytes, or operations; 0 does not limit.
	PerSecond uint64
}

// limitIO returns a container's limits as they are with the changes, and those of the disks that are named.
func limitIO(now []store.IOLimit, changes []IOLimit, mounts []store.Mount) (whole, changed []store.IOLimit, err error) {
	whole = slices.Clone(now)
	var disks []string
	for _, change := range changes {
		disk, err := diskAt(mounts, change.Path)
		if err != nil {
			return nil, nil, err
		}
		i := slices.IndexFunc(whole, func(l store.IOLimit) bool { return l.Path == disk })
		if i < 0 {
			i = len(whole)
			whole = append(whole, store.IOLimit{Path: disk})
		}
		if err := change.apply(&whole[i]); err != nil {
			return nil, nil, err
		}
		disks = append(disks, disk)
	}
	for _, l := range whole {
		if slices.Contains(disks, l.Path) {
			changed = append(changed, l)
		}
	}
	return slices.DeleteFunc(whole, func(l store.IOLimit) bool { return l == store.IOLimit{Path: l.Path} }), changed, nil
}

// apply puts the limit into the record's of its disk.
func (l IOLimit) apply(to *store.IOLimit) error {
	switch l.Kind {
	case IOReadBytes:
		to.ReadBytes = l.PerSecond
	case IOWriteBytes:
		to.WriteBytes = l.PerSecond
	case IOReadOperations:
		to.ReadOperations = l.PerSecond
	case IOWriteOperations:
		to.WriteOperations = l.PerSecond
	default:
		return &fault.Error{Reason: fault.Invalid, Op: "limit disk", Subject: l.Path, Cause: fmt.Errorf("there is no limit %q", l.Kind)}
	}
	return nil
}

// checkIOLimits refuses what no container can have, whatever is mounted in it.
func checkIOLimits(limits []IOLimit) error {
	for _, l := range limits {
		if err := checkDisk(l.Path); err != nil {
			return err
		}
		if err := l.apply(&store.IOLimit{}); err != nil {
			return err
		}
	}
	return nil
}

// checkDisk refuses a path at which no container has a disk.
func checkDisk(at string) error {
	switch {
	case !path.IsAbs(at):
		return noDisk(at, "it is no absolute path")
	case strings.HasPrefix(at, "/dev/"):
		return noDisk(at, "a container has disks of its own, and none of the host's")
	}
	return nil
}

func noDisk(at, why string) error {
	return &fault.Error{Reason: fault.Unsupported, Op: "limit disk", Subject: at, Cause: errors.New(why),
		Hint: "write / for the root, or the directory in the container where a volume is mounted"}
}

// diskAt returns the path by which the record has the disk that is mounted at a path, or says why there is none.
func diskAt(mounts []store.Mount, at string) (string, error) {
	if err := checkDisk(at); err != nil {
		return "", err
	}
	if path.Clean(at) == store.RootPath {
		return store.RootPath, nil
	}
	i := slices.IndexFunc(mounts, func(m store.Mount) bool { return m.Destination == path.Clean(at) })
	switch {
	case i < 0:
		return "", noDisk(at, "no disk is mounted there")
	case mounts[i].Type != store.MountVolume:
		return "", noDisk(at, "what is mounted there is no disk, but a directory of the host, and cannot be limited")
	}
	first := slices.IndexFunc(mounts, func(m store.Mount) bool { return m.Device == mounts[i].Device })
	return mounts[first].Destination, nil
}
