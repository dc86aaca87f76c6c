package container

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/vzctl/vzctl/guest/vminitd/cgroup"
	"github.com/vzctl/vzctl/guest/vminitd/netconf"
)

// Stats is what a container has used.
type Stats struct {
	cgroup.Usage
	netconf.Traffic
}

// Stats of a container whose first process runs.
func (r *Runtime) Stats(id string) (Stats, error) {
	c, init, err := r.runningContainer(id)
	if err != nil {
		return Stats{}, err
	}
	var s Stats
	if s.Usage, err = c.group.Usage(); err != nil {
		return Stats{}, fmt.Errorf("read what container %q uses: %w", id, err)
	}
	if s.Traffic, err = netconf.TrafficOf(filepath.Join("/proc", strconv.Itoa(init), "net")); err != nil {
		return Stats{}, fmt.Errorf("read the traffic of container %q: %w", id, err)
	}
	return s, nil
}

// runningContainer returns a container, and the id of its first process in the machine's own namespace.
func (r *Runtime) runningContainer(id string) (*Container, int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(id)
	if err != nil {
		return nil, 0, err
	}
	init, err := c.runningInit()
	if err != nil {
		return nil, 0, err
	}
	return c, init.Pid, nil
}
