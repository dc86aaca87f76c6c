package container

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/vzctl/vzctl/guest/vminitd/procfs"
)

// ProcessInfo is a process as the container sees it.
type ProcessInfo struct {
	procfs.Process
	User string // empty: its id has no name
}

// Processes returns all processes of a container whose first one runs.
func (r *Runtime) Processes(id string) ([]ProcessInfo, error) {
	c, init, err := r.runningContainer(id)
	if err != nil {
		return nil, err
	}
	pids, err := c.group.AllProcesses()
	var found []procfs.Process
	if err == nil {
		found, err = procfs.Read("/proc", pids)
	}
	if err != nil {
		return nil, fmt.Errorf("list the processes of container %q: %w", id, err)
	}
	users := procfs.Users(filepath.Join("/proc", strconv.Itoa(init), "root"))
	all := make([]ProcessInfo, 0, len(found))
	for _, p := range found {
		if p.Pid != 0 { // those of the machine itself, on their way in
			uid, _ := c.userns.IDs().In(int(p.UID), -1)
			p.UID = uint32(uid)
			all = append(all, ProcessInfo{p, users[p.UID]})
		}
	}
	return all, nil
}
