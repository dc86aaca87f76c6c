package container

import (
	"os"
	"strconv"
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
	held := c.namespace
	c.namespace = nil
	c.runtime.mu.Unlock()
	if held == nil {
		return nil
	}
	return held.Close()
}
