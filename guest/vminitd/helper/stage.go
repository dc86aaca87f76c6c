package helper

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// StagedNamespaces are those that a helper makes when it stages: the message queues and the cgroups that are mounted belong to them. They are CLONE_NEW* flags.
const StagedNamespaces = unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP

// stageAt is any directory of the machine: what is mounted over it is seen in a mount namespace of its own alone, which is gone when all is staged.
const stageAt = "/run"

// stage mounts what is the same in nearly all containers, with device nodes, masks and all, before it is known which comes. It is nowhere then, each tree a descriptor, until place puts it
// in a container's root.
func stage(i *Init) (trees []prepared, err error) {
	machine, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(machine) }()
	if err := unix.Unshare(unix.CLONE_NEWNS | StagedNamespaces); err != nil {
		return nil, fmt.Errorf("make namespaces: %w", err)
	}
	trees, err = stageInside(i)
	// The mounts of containers' roots are made in the machine's namespace, and those of a container must have been copied from there.
	return trees, errors.Join(err, unix.Setns(machine, unix.CLONE_NEWNS))
}

// stageInside runs in a mount namespace of its own, and makes a root of nothing but what is staged.
func stageInside(i *Init) (trees []prepared, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("part from the machine's mounts: %w", err)
	}
	mounts, err := prepareAll(i)
	if err != nil {
		return nil, err
	}
	if err := unix.Mount("tmpfs", stageAt, "tmpfs", 0, "mode=0755"); err != nil {
		return nil, err
	}
	if err := pivot(stageAt); err != nil {
		return nil, fmt.Errorf("change root: %w", err)
	}
	for _, m := range mounts {
		if err := m.place(); err != nil {
			return nil, err
		}
	}
	if err := own.makeStandardDevices("/dev", nil); err != nil {
		return nil, err
	}
	if err := sealRoot(i); err != nil {
		return nil, err
	}
	for _, m := range mounts {
		if path.Dir(m.destination) != "/" {
			continue // is in the tree of one that is
		}
		tree, err := unix.OpenTree(unix.AT_FDCWD, m.destination, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return nil, err
		}
		trees = append(trees, prepared{fd: tree, destination: m.destination, directory: true, strict: m.strict})
	}
	return trees, nil
}
