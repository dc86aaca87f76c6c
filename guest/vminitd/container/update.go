package container

import (
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/sdk/fault"
)

// Update changes limits of a container: linux.resources of a runtime spec, of which only what is set changes, and those of the disks that are named. After an error they are as they were.
func (r *Runtime) Update(id string, resources []byte, disks []IOLimit) error {
	var changed specs.LinuxResources
	if err := decode(resources, &changed); err != nil {
		return invalid("read the limits", err)
	}
	if len(changed.Devices) > 0 {
		return &fault.Error{Reason: fault.Unsupported, Op: "update container", Subject: id, Cause: errors.New("which devices it may open cannot be changed")}
	}
	r.mu.Lock()
	c, err := r.container(id)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	ofDisks, err := c.disksOf(disks)
	if err != nil {
		return err
	}
	c.updating.Lock()
	defer c.updating.Unlock()
	if err := c.group.Update(&changed, ofDisks...); err != nil {
		return limitError(err)
	}
	return nil
}
