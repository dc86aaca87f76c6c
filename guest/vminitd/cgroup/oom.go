package cgroup

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WatchOOM calls told, from another goroutine, when the kernel has killed processes of the cgroup for want of memory, and at once if it had. stop ends that, and returns
// when told is not called any more; it must not be called from there.
func (g *Group) WatchOOM(told func()) (stop func(), err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	changes := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, filepath.Join(g.dir, eventsFile), unix.IN_MODIFY); err != nil {
		return nil, errors.Join(err, changes.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4096) // what has changed is known, and read anew
		for seen := uint64(0); ; {
			if kills := g.OOMKills(); kills > seen {
				seen = kills
				told()
			}
			if _, err := changes.Read(buffer); err != nil {
				return
			}
		}
	}()
	return func() {
		_ = changes.Close() // which ends the read
		<-done
	}, nil
}

// eventsFile counts what happened for want of memory.
const eventsFile = "memory.events"
