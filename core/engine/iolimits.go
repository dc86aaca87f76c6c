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
		switch l := &whole[i]; change.Kind {
		case IOReadBytes:
			l.ReadBytes = change.PerSecond
		case IOWriteBytes:
			l.WriteBytes = change.PerSecond
		case IOReadOperations:
			l.ReadOperations = change.PerSecond
		case IOWriteOperations:
			l.WriteOperations = change.PerSecond
		default:
			return nil, nil, &fault.Error{Reason: fault.Invalid, Op: "limit disk", Subject: change.Path, Cause: fmt.Errorf("there is no limit %q", change.Kind)}
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

// diskAt returns the path by which the record has the disk that is mounted at a path, or says why there is none.
func diskAt(mounts []store.Mount, at string) (string, error) {
	refusal := &fault.Error{Reason: fault.Unsupported, Op: "limit disk", Subject: at, Hint: "write / for the root, or the directory in the container where a volume is mounted"}
	switch {
	case !path.IsAbs(at):
		refusal.Cause = errors.New("it is no absolute path")
		return "", refusal
	case path.Clean(at) == store.RootPath:
		return store.RootPath, nil
	case strings.HasPrefix(at, "/dev/"):
		refusal.Cause = errors.New("a container has disks of its own, and none of the host's")
		return "", refusal
	}
	i := slices.IndexFunc(mounts, func(m store.Mount) bool { return m.Destination == path.Clean(at) })
	switch {
	case i < 0:
		refusal.Cause = errors.New("no disk is mounted there")
		return "", refusal
	case mounts[i].Type != store.MountVolume:
		refusal.Cause = errors.New("what is mounted there is no disk, but a directory of the host, and cannot be limited")
		return "", refusal
	}
	first := slices.IndexFunc(mounts, func(m store.Mount) bool { return m.Device == mounts[i].Device })
	return mounts[first].Destination, nil
}
