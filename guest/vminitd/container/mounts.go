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

// rootDirectory returns the root directory of a container that runs, which releaseMounts closes; nil if there is none. It is looked for once, as that takes a thread.
func (c *Container) rootDirectory() *os.File {
	namespace, root := c.held()
	if namespace == nil {
		return root
	}
	defer func() { _ = namespace.Close() }()
	found, err := launch.Root(namespace) // which may wait for who mounts something elsewhere
	if err != nil {
		return nil
	}
	c.runtime.mu.Lock()
	defer c.runtime.mu.Unlock()
	if c.namespace == nil || c.directory != nil { // meanwhile
		_ = found.Close()
	} else {
		c.directory = found
	}
	return c.directory
}

// held returns the root directory, if it has been found, or else the namespace that it is to be found in, which the caller closes; neither if there is none.
func (c *Container) held() (namespace, root *os.File) {
	c.runtime.mu.Lock()
	defer c.runtime.mu.Unlock()
	switch {
	case c.namespace == nil:
		return nil, nil
	case c.directory != nil:
		return nil, c.directory
	}
	return duplicate(c.namespace), nil
}

// duplicate returns nil if there is no room for another descriptor.
func duplicate(file *os.File) *os.File {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), file.Name())
}
