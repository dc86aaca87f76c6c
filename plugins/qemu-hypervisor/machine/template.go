package machine

import (
	"fmt"
	"path/filepath"

	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

// PlaceholderSize of a template's read-only disks, in bytes: more than any image has. QEMU changes the size of a writable disk in a running VM, but not of
// a read-only one, so a clone's guest goes on taking its read-only disks for that large. Reading beyond the image's end is an I/O error.
const PlaceholderSize = 1 << 40

// Template returns the spec of the VM that is saved for clones of VMs like s: with s in common is all that a guest sees of its machine before it is
// told who it is. Disks are empty files in dir, where the console goes too, and sockets lie in s's runtime directory.
func Template(s hypervisor.Spec, dir string) hypervisor.Spec {
	t := s
	t.ID, t.Disks, t.NICs = "template", nil, nil
	if s.ConsolePath != "" {
		t.ConsolePath = filepath.Join(dir, "boot.log")
	}
	for i, disk := range s.Disks {
		t.Disks = append(t.Disks, hypervisor.Disk{Serial: DiskNode(i), ReadOnly: disk.ReadOnly,
			File: &hypervisor.FileBackend{Path: filepath.Join(dir, DiskNode(i)), Format: "raw"}})
	}
	for i, nic := range s.NICs {
		t.NICs = append(t.NICs, hypervisor.NIC{MTU: nic.MTU, Link: network.Link{UnixDatagram: &network.UnixDatagram{
			VMPath: filepath.Join(s.RuntimeDir, fmt.Sprintf("t%d", i)), NetworkPath: filepath.Join(s.RuntimeDir, fmt.Sprintf("T%d", i))}}})
	}
	t.Shares = nil
	for i, share := range s.Shares { // a guest reads the tag once, in the template; what is behind it, it asks for when it mounts
		t.Shares = append(t.Shares, hypervisor.Share{Tag: share.Tag, Path: filepath.Join(dir, shareID(i))})
	}
	return t
}

// Description tells people which VMs a template is for.
func Description(template hypervisor.Spec, host Host) string {
	text := fmt.Sprintf("%s by %s, %d CPUs, %d MiB, %d disks, %d network cards", template.Arch, host.Accelerator, template.CPUs, template.MemoryBytes>>20,
		len(template.Disks), len(template.NICs))
	if n := len(template.Shares); n > 0 {
		text += fmt.Sprintf(", %d shares", n)
	}
	return text
}

// Shape is what machines have to have in common to be started from one template, but for the contents of kernel, initrd and QEMU.
func Shape(s hypervisor.Spec, host Host) []string {
	t := Template(s, "/")
	for _, nic := range t.NICs {
		nic.Link.UnixDatagram.VMPath, nic.Link.UnixDatagram.NetworkPath = "", ""
	}
	console := -1
	if s.ConsolePath != "" {
		console = 0
	}
	return Arguments(t, host, Wiring{Console: console, Memory: 3})
}
