package sandbox

import (
	"context"
	"fmt"

	"github.com/vzctl/vzctl/core/steps"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// Serials by which the guest finds its disks.
const layerSerial = "layer"

func lowerSerial(i int) string { return fmt.Sprintf("rootfs%d", i) }

// createVMStep has the plugin reserve what the VM needs.
func (s *Sandbox) createVMStep(needs ...string) steps.Step {
	request := "create " + s.spec.ID
	return steps.Step{Name: "create vm", Needs: needs,
		Do: func(ctx context.Context) (err error) {
			s.vm, err = s.hypervisor.Create(ctx, request, s.vmSpec())
			return err
		},
		Undo: func(ctx context.Context) error {
			if s.unplugged() {
				return nil
			}
			return s.hypervisor.Delete(ctx, "delete "+s.spec.ID, s.spec.VirtualMachineID)
		},
	}
}

// vmSpec describes the VM. Nothing in it tells one container from another but paths, serials and MAC addresses.
func (s *Sandbox) vmSpec() hypervisor.Spec {
	spec := hypervisor.Spec{
		ID:          s.spec.VirtualMachineID,
		Arch:        s.spec.Arch,
		CPUs:        s.spec.CPUs,
		MemoryBytes: s.spec.MemoryBytes,
		Kernel:      hypervisor.Kernel{Path: s.spec.Kernel.Path, Format: s.spec.Kernel.Format, CommandLine: s.spec.Kernel.CommandLine},
		InitrdPath:  s.spec.InitrdPath,
		ConsolePath: s.spec.ConsolePath,
		RuntimeDir:  s.spec.RuntimeDir,
		StateDir:    s.spec.StateDir,
		CacheDir:    s.spec.CacheDir,
		Options:     s.spec.HypervisorOptions,

		NestedVirtualization: s.spec.Nested,
	}
	for i, d := range s.spec.Lower {
		disk := vmDisk(lowerSerial(i), d)
		disk.Lasting, disk.FileSystem, disk.Reads = true, d.FileSystem, s.spec.Reads
		spec.Disks = append(spec.Disks, disk)
	}
	if s.spec.Layer != nil {
		disk := vmDisk(layerSerial, *s.spec.Layer)
		disk.FileSystem, disk.Fresh = s.spec.Layer.FileSystem, s.spec.Journal == "" && !s.spec.Mapped // the plugin looks whether it still is
		spec.Disks = append(spec.Disks, disk)
	}
	s.addSources(&spec)
	if s.lease != nil {
		e := s.lease.Endpoint()
		spec.NICs = append(spec.NICs, hypervisor.NIC{ID: "nic0", MAC: e.MAC, MTU: e.MTU, Link: e.Link})
	}
	return spec
}

func vmDisk(serial string, d rootfs.Disk) hypervisor.Disk {
	return hypervisor.Disk{Serial: serial, ReadOnly: d.ReadOnly, File: &hypervisor.FileBackend{Path: d.Path, Format: "raw"}}
}

// startVMStep lets the VM run.
func (s *Sandbox) startVMStep(needs ...string) steps.Step {
	return steps.Step{Name: "start vm", Needs: needs,
		Do: func(ctx context.Context) (err error) {
			s.vm, err = s.hypervisor.Start(ctx, s.spec.VirtualMachineID)
			return err
		},
		Undo: func(ctx context.Context) error {
			if s.pluginGone() || s.unplugged() {
				return nil
			}
			// A guest that has shut down has written all out, and what it does after that nobody needs.
			_, err := s.hypervisor.Stop(ctx, s.spec.VirtualMachineID, hypervisor.Kill)
			return err
		},
	}
}

// pluginGone reports whether the hypervisor plugin has ended: its VMs end with it.
func (s *Sandbox) pluginGone() bool {
	select {
	case <-s.hypervisor.Done():
		return true
	default:
		return false
	}
}
