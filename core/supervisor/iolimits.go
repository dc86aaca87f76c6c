package supervisor

import (
	supervisorv1 "github.com/vzctl/vzctl/core/proto/vzctl/supervisor/v1"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/store"
)

// IOLimits are limits of a container's disks as its guest is told of them.
func IOLimits(mounts []store.Mount, limits []store.IOLimit) (all []sandbox.IOLimit) {
	for _, l := range limits {
		out := sandbox.IOLimit{ReadBytes: l.ReadBytes, WriteBytes: l.WriteBytes, ReadOperations: l.ReadOperations, WriteOperations: l.WriteOperations}
		if l.Path != store.RootPath {
			if out.Volume = store.VolumeDevice(mounts, l.Path); out.Volume == "" {
				continue // of an edited record; a limit of the root it is not
			}
		}
		all = append(all, out)
	}
	return all
}

func wireIOLimits(limits []sandbox.IOLimit) (all []*supervisorv1.IoLimit) {
	for _, l := range limits {
		all = append(all, &supervisorv1.IoLimit{Source: l.Volume, ReadBytes: l.ReadBytes, WriteBytes: l.WriteBytes,
			ReadOperations: l.ReadOperations, WriteOperations: l.WriteOperations})
	}
	return all
}

func ioLimitsOf(wire []*supervisorv1.IoLimit) (all []sandbox.IOLimit) {
	for _, l := range wire {
		all = append(all, sandbox.IOLimit{Volume: l.GetSource(), ReadBytes: l.GetReadBytes(), WriteBytes: l.GetWriteBytes(),
			ReadOperations: l.GetReadOperations(), WriteOperations: l.GetWriteOperations()})
	}
	return all
}
