package sandbox

import (
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// Volume is a disk that outlives the container. The guest finds it by its name.
type Volume struct {
	Name     string
	Disk     rootfs.Disk
	ReadOnly bool
	Journal  string
	// CopyFrom is a path of the image whose content a volume gets in which nothing is; "": none.
	CopyFrom string
}

// addSources gives a VM what its container finds from elsewhere. The names are the same for all VMs of one layout.
func (s *Sandbox) addSources(spec *hypervisor.Spec) {
	for _, v := range s.spec.Volumes {
		disk := vmDisk(v.Name, v.Disk)
		disk.ReadOnly = v.ReadOnly
		spec.Disks = append(spec.Disks, disk)
	}
	spec.Shares = s.spec.Shares
}

// guestSources is what the guest is to mount of them.
func (s *Sandbox) guestSources() (sources []*guestv1.Source) {
	for _, share := range s.spec.Shares {
		sources = append(sources, &guestv1.Source{Name: share.Tag,
			Of: &guestv1.Source_Share{Share: &guestv1.Share{Tag: share.Tag, Type: share.Type, ReadOnly: share.ReadOnly}}})
	}
	for _, v := range s.spec.Volumes {
		sources = append(sources, &guestv1.Source{Name: v.Name, Of: &guestv1.Source_Volume{Volume: &guestv1.Volume{
			Disk: &guestv1.Disk{Serial: v.Name, FileSystem: v.Disk.FileSystem}, ReadOnly: v.ReadOnly, Journal: v.Journal, CopyFrom: v.CopyFrom}}})
	}
	return sources
}
