package container

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/launch"
)

// holdMounts keeps the mount namespace of the first process. Otherwise its end would be known only when the kernel has taken down all that is mounted there, one file system after
// the other, which takes an emulated machine as long as to start the process; and nobody waits for that but who deletes the container.
func (c *Container) holdMounts(pid int) {
	held, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/mnt")
	if err != nil {
		return // it has ended, and they are taken down
	}
	c.runtime.mu.Lock()
	defer c.runtime.mu.Unlock()
	if c.runtime.containers[c.id] != c || c.deleting != nil { // meanwhile
		_ = held.Close()
		return
	}
	c.namespace = held
}

// releaseMounts has them taken down, before it returns unless a process has them.
func (c *Container) releaseMounts() error {
	c.runtime.mu.Lock()
	held, root := c.namespace, c.directory
	c.namespace, c.directory = nil, nil
	c.runtime.mu.Unlock()
	if root != nil {
		if err := root.Close(); err != nil {
			return err
		}
	}
	if held == nil {
		return nil
	}
	return held.Close()
}

// rootDirectory returns the root directory of a container that runs, which the caller closes; nil if there is none. It is looked for once, as that takes a thread.
func (c *Container) rootDirectory() *os.File {
	c.runtime.mu.Lock()
	defer c.runtime.mu.Unlock()
	if c.namespace == nil {
		return nil
	}
	if c.directory == nil {
		found, err := launch.Root(c.namespace)
		if err != nil {
			return nil
		}
		c.directory = found
	}
	own, err := unix.FcntlInt(c.directory.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(own), "root")
}
