package machine

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// sandbox forbids QEMU what it does not need for any device here: new programs, more privilege, other processes' priorities, old system calls.
const sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

// sandboxFor lets a QEMU that is to be forked be forked. Package fork forbids it the rest before there is a copy.
func sandboxFor(wiring Wiring) string {
	if wiring.Forked {
		return strings.Replace(sandbox, "spawn=deny", "spawn=allow", 1)
	}
	return sandbox
}

// Arguments returns the command line of QEMU, without the program, for a spec that Check found good.
func Arguments(s hypervisor.Spec, host Host, wiring Wiring) []string {
	p := profiles[s.Arch]
	args := []string{
		"-name", s.ID,
		"-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot", // a guest without ACPI powers off by a reset
	}
	if host.OS == "linux" { // elsewhere QEMU refuses the option
		args = append(args, "-sandbox", sandboxFor(wiring))
	}
	args = append(args,
		"-machine", machineType(s, p, host, wiring),
		"-accel", host.Accelerator,
		"-cpu", cpuModel(s, host, wiring),
		"-smp", strconv.FormatUint(uint64(s.CPUs), 10),
		"-m", "size="+strconv.FormatUint(s.MemoryBytes, 10)+"B",
		"-kernel", s.Kernel.Path,
		"-append", Words(s, host, wiring.Console >= 0),
	)
	if wiring.Memory > 0 {
		args = append(args, "-object", object("qom-type", "memory-backend-file", "id", memoryID, "size", s.MemoryBytes,
			"mem-path", "/proc/self/fd/"+strconv.Itoa(wiring.Memory), "share", wiring.Shared, "dump", false))
	}
	if wiring.Named {
		args = append(args, "-object", object("qom-type", "memory-backend-ram", "id", memoryID, "size", s.MemoryBytes, "dump", false))
	}
	if wiring.Incoming {
		// What can be said here need not be said by the monitor, which QEMU reads byte by byte.
		args = append(args, "-incoming", "defer", "-global", "migration.x-events=on")
	}
	if wiring.Incoming && wiring.Memory > 0 {
		args = append(args, "-global", "migration.announce-rounds=0") // a clone's guest has no address yet that it could announce
	}
	if s.InitrdPath != "" {
		args = append(args, "-initrd", s.InitrdPath)
	}
	args = append(args,
		"-chardev", "socket,id=qmp,fd="+strconv.Itoa(wiring.QMP),
		"-mon", "chardev=qmp,mode=control",
	)
	if wiring.Console >= 0 {
		args = append(args, "-chardev", "socket,id=console,fd="+strconv.Itoa(wiring.Console), "-serial", "chardev:console")
	}
	args = append(args,
		"-global", "virtio-mmio.force-legacy=off",
		"-object", randomBackend(wiring),
		"-device", "virtio-rng-device,rng=rng",
		"-device", "virtio-balloon-device,free-page-reporting=on,deflate-on-oom=on",
		"-device", "virtio-serial-device",
		"-chardev", "socket,id=mux,server=on,wait=off,fd="+strconv.Itoa(wiring.Mux),
		"-device", "virtserialport,chardev=mux,id="+MuxID+",name="+MuxPort,
	)
	for i, disk := range s.Disks {
		args = append(args, diskArguments(i, disk)...)
	}
	for _, i := range nicOrder(len(s.NICs), p) {
		args = append(args, nicArguments(i, s.NICs[i], wiring.NICs)...)
	}
	for i, share := range s.Shares {
		if share.Type == hypervisor.ShareVirtioFS {
			args = append(args, virtioFSArguments(i, share, wiring.VirtioFS[i])...)
			continue
		}
		args = append(args, shareArguments(i, share, host.Root)...)
	}
	return args
}

// nicOrder has the guest number the cards as the spec does. On virt a device tree names the devices, the last one first, and Linux numbers as it finds.
// Disks have serials, so nothing hangs on their order.
func nicOrder(n int, p profile) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
		if p.name == "virt" {
			order[i] = n - 1 - i
		}
	}
	return order
}

func machineType(s hypervisor.Spec, p profile, host Host, wiring Wiring) string {
	memory := ""
	if host.OS == "linux" { // elsewhere memory cannot be left out of a core, and QEMU says so and ends; there are no cores then, see package vm
		memory = ",dump-guest-core=off"
	}
	if wiring.Memory > 0 || wiring.Named {
		memory += ",memory-backend=" + memoryID
	}
	if p.name == "virt" {
		return "virt,gic-version=max" + memory
	}
	serial := "off"
	if wiring.Console >= 0 {
		serial = "on"
	}
	acpi := "off"
	if needsACPI(s) {
		acpi = "on"
	}
	return "microvm,acpi=" + acpi + ",x-option-roms=off,rtc=on,pic=on,pit=on" + memory + ",isa-serial=" + serial
}

// needsACPI reports whether there are more devices than microvm has interrupts for without it: 8 slots, or 24.
func needsACPI(s hypervisor.Spec) bool { return devices(s) > slotsWithoutACPI }

func devices(s hypervisor.Spec) int { return len(s.Disks) + len(s.NICs) + len(s.Shares) }

// randomBackend is where a guest's random numbers come from. QEMU's own are of a generator that does not notice that it was copied.
func randomBackend(wiring Wiring) string {
	if wiring.Forked {
		return "rng-random,id=rng,filename=/dev/urandom"
	}
	return "rng-builtin,id=rng"
}

// cpuModel avoids under emulation the instructions that QEMU interprets byte by byte, see kernel/README.md.
// Copies would have the same random numbers from these instructions, see randomBackend.
func cpuModel(s hypervisor.Spec, host Host, wiring Wiring) string {
	if wiring.Forked {
		wiring.Forked = false
		return cpuModel(s, host, wiring) + ",-rdrand,-rdseed"
	}
	switch {
	case s.Options[OptionCPU] != "":
		return s.Options[OptionCPU]
	case host.Accelerator == TCG && s.Arch == "amd64":
		return "max,-erms,-fsrm"
	case host.Accelerator == TCG:
		return "max,pauth-impdef=on" // the architected pointer authentication is slow to emulate
	}
	return "host"
}

// memoryID is what QEMU calls memory that is a file.
const memoryID = "memory"

// DiskNode is what QEMU's commands call the i-th disk.
func DiskNode(i int) string { return fmt.Sprintf("disk%d", i) }

// diskArguments uses JSON, in which a path may hold any character. Read-only images are locked shared, so that many VMs can use one; a writable one is
// locked against a second writer. A flush of the guest reaches the host's file. What the guest discards becomes a hole in it, but not always, see holes.go of
// package vm: a guest may only count on zeros where it has written them.
func diskArguments(i int, disk hypervisor.Disk) []string {
	name, discard := DiskNode(i), "unmap"
	if disk.ReadOnly {
		discard = "ignore"
	}
	return []string{
		"-blockdev", object(
			"driver", "raw", "node-name", name, "read-only", disk.ReadOnly, "discard", discard,
			"file", map[string]any{"driver": "file", "filename": disk.File.Path, "read-only": disk.ReadOnly, "locking": "auto", "discard": discard}),
		"-device", object("driver", "virtio-blk-device", "drive", name, "serial", disk.Serial, "discard", !disk.ReadOnly, "write-zeroes", false,
			"werror", "report", "rerror", "report"), // a full host disk is the guest's I/O error; the default would stop the VM
	}
}

// nicArguments connects the card by paths or, if there are descriptors, by that of a connected socket.
func nicArguments(i int, nic hypervisor.NIC, descriptors map[int]int) []string {
	name := fmt.Sprintf("net%d", i)
	// Linux is slow at setting up a filter of VLANs, and says so in its log. Without one it gets them all.
	device := []any{"driver", "virtio-net-device", "netdev", name, "ctrl_vlan", false}
	if nic.MAC != "" {
		device = append(device, "mac", nic.MAC)
	}
	if nic.MTU != 0 {
		device = append(device, "host_mtu", nic.MTU)
	}
	if descriptor, by := descriptors[i]; by {
		return []string{
			"-netdev", object("type", "dgram", "id", name, "local", map[string]any{"type": "fd", "str": strconv.Itoa(descriptor)}),
			"-device", object(device...),
		}
	}
	link := nic.Link.UnixDatagram
	return []string{
		"-netdev", object("type", "dgram", "id", name,
			"local", map[string]any{"type": "unix", "path": link.VMPath},
			"remote", map[string]any{"type": "unix", "path": link.NetworkPath}),
		"-device", object(device...),
	}
}

// object is a JSON object of keys and values; sorted by key, so that equal machines have equal command lines.
func object(pairs ...any) string {
	values := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i].(string)] = pairs[i+1]
	}
	text, err := json.Marshal(values)
	if err != nil {
		panic(err) // strings, numbers and maps of them can always be written
	}
	return string(text)
}
