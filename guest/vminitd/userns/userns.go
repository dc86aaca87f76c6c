// Package userns is the user namespace of a container as the machine sees it, from outside: whose its files are, and how the machine's own make files that are the container's.
//
// Disks keep the ids that images have. What of them is mounted for the container is mounted with its ids (an idmapped mount), so that root of the container owns what root of the image does.
package userns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/idmap"
)

// Namespace is one. A nil one is the machine's own: ids are what they are.
type Namespace struct {
	Maps *idmap.Maps
	file *os.File
}

// Of returns the namespace of a process that has just been made, which has these maps. The caller closes it; what was mounted with it stays.
func Of(pid int, maps *idmap.Maps) (*Namespace, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return nil, fmt.Errorf("find the user namespace: %w", err)
	}
	return &Namespace{maps, file}, nil
}

// Close lets go of it.
func (n *Namespace) Close() error {
	if n == nil {
		return nil
	}
	return n.file.Close()
}

// IDs are the maps; nil of a nil namespace.
func (n *Namespace) IDs() *idmap.Maps {
	if n == nil {
		return nil
	}
	return n.Maps
}

// Map has a mount, which is attached nowhere yet, show the ids of its file system as those of the container, if that is on a disk. Others cannot in Linux 6.1 (tmpfs, 9p, virtiofs), and show the
// machine's.
func (n *Namespace) Map(mount int, recursive bool) error {
	var of unix.Stat_t
	if err := unix.Fstat(mount, &of); err != nil {
		return err
	}
	if unix.Major(of.Dev) == 0 { // not statfs(2), which a server of 9p answers as it likes
		return nil
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(mount, "", flags, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(n.file.Fd())}); err != nil {
		return fmt.Errorf("map ids: %w", err)
	}
	return nil
}

// MapAt mounts what is mounted at a path at another, an empty directory, with the container's ids if it can have them.
func (n *Namespace) MapAt(from, to string) error {
	mount, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(mount) }()
	if err := n.Map(mount, false); err != nil {
		return err
	}
	return unix.MoveMount(mount, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// Own runs f on a thread that makes files as root of the container. It keeps all else that it may do. f must not leave the goroutine.
func (n *Namespace) Own(f func() error) (err error) {
	if n == nil {
		return f()
	}
	runtime.LockOSThread()
	defer func() {
		if backErr := become(0, 0); backErr != nil {
			err = errors.Join(err, backErr) // the thread ends with the goroutine, or it is not used for anything else
			return
		}
		runtime.UnlockOSThread()
	}()
	uid, gid := n.Maps.Out(0, 0)
	if err := become(uid, gid); err != nil {
		return err
	}
	return f()
}

// become has the thread make files as a user, and do with them whatever root may.
func become(uid, gid int) error {
	if _, err := unix.SetfsgidRetGid(gid); err != nil {
		return err
	}
	if _, err := unix.SetfsuidRetUid(uid); err != nil {
		return err
	}
	// Not to be root for files takes capabilities away, and they may be taken back.
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return err
	}
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	if err := unix.Capset(&head, &data[0]); err != nil {
		return err
	}
	// These calls do not fail: they return what was before.
	if now, err := unix.SetfsuidRetUid(-1); err != nil || now != uid {
		return errors.Join(err, fmt.Errorf("files are made as user %d, not %d", now, uid))
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // a system setting may have said otherwise just now
}
