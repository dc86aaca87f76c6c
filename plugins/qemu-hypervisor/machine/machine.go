// Package machine turns the spec of a VM into the command line of QEMU. It is pure: what it needs to know of the host is given to it, and it
// touches no file. check.go refuses what cannot be offered, arguments.go writes the command line, words.go the kernel's. It starts nothing; that
// is package vm's.
//
// Nothing of a container is in its result but host paths, disk serials and MAC addresses, so VMs of one layout are alike.
package machine

import (
	"runtime"
	"strconv"

	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

// Names of the accelerators.
const (
	KVM = "kvm"
	HVF = "hvf"
	TCG = "tcg"
)

// Options of hypervisor.Spec.Options that this plugin knows.
const (
	OptionAccelerator = "accelerator" // auto, kvm, hvf or tcg
	OptionProfile     = "profile"     // microvm (amd64) or virt (arm64)
	OptionCPU         = "cpu"         // QEMU's -cpu, as it is
	OptionTemplates   = "templates"   // on or off
	OptionStandby     = "standby"     // off, or how long a VM stands by to be forked after it was last, like 10m
	OptionRandomize   = "randomize"   // boot or process: how often a guest whose CPU is emulated draws where code is placed, see kernel/README.md; default boot

	// Looked at when a template is made, of all that there are.
	OptionTemplatesMaxSize   = "templates_max_mib"    // what they may take of the disk, in MiB; default 2048
	OptionTemplatesMaxUnused = "templates_max_unused" // how long one may not have been used, like 720h; default: for ever
)

// MuxPort is the name of the virtio-serial port that carries the connections between host and guest. The guest looks for it.
const MuxPort = "vzctl.mux.0"

// MuxID is what QEMU's events call that port.
const MuxID = "mux"

// Bounds of what a machine can be.
const (
	MaxDevices = 21 // 24 virtio-mmio slots, less those of serial port, random numbers and balloon
	MaxCPUs    = 64 // CONFIG_NR_CPUS of our kernel
	MinMemory  = 64 << 20
	// slotsWithoutACPI is how many devices of a spec microvm has room for without ACPI tables, which cost the kernel time.
	slotsWithoutACPI = 5
)

// Host is what the command line depends on besides the spec.
type Host struct {
	// OS is the host's, as Go names it.
	OS string
	// Root says that QEMU may give files to whom it likes.
	Root bool
	// Accelerator is KVM, HVF or TCG: decided, not wished.
	Accelerator string
	// TSCKilohertz is the rate of the host's cycle counter; 0 if unknown or not steady, and the guest measures it.
	TSCKilohertz uint64
}

// Wiring holds the descriptors that QEMU inherits. Console is negative, and Memory 0, if there is none.
type Wiring struct {
	QMP     int // connected socket
	Mux     int // listening socket
	Console int // connected socket
	Memory  int // file with the guest's memory; without it, memory is QEMU's own
	// VirtioFS has the connected sockets to the virtiofsds, by the numbers of their shares.
	VirtioFS map[int]int
	// NICs has the connected sockets of cards, by the numbers of the cards; one that is not there is connected by its paths.
	NICs map[int]int
	// Forked is for a QEMU of which copies are made, see package fork.
	Forked bool
	// Shared has what the guest writes reach the file of Memory. Otherwise QEMU has a private copy of it, page by page as the guest writes.
	Shared bool
	// Named gives memory of QEMU's own the name that a file's has: the memory that was saved under it is looked for there.
	Named bool
	// Incoming has QEMU wait for the state of a template or snapshot, instead of booting.
	Incoming bool
}

// profile is what an architecture's machine is called and needs.
type profile struct {
	name    string
	binary  string
	console string // kernel's name of the serial port
	kernels []string
	debian  string // package with the binary
}

var profiles = map[string]profile{
	"amd64": {"microvm", "qemu-system-x86_64", "ttyS0", []string{"elf-pvh", "bzimage"}, "qemu-system-x86"},
	"arm64": {"virt", "qemu-system-aarch64", "ttyAMA0", []string{"raw"}, "qemu-system-arm"},
}

// Binary returns the name of the QEMU that runs guests of an architecture, and the command that installs it here; "" for an unknown one.
func Binary(arch string) (name, install string) {
	p, known := profiles[arch]
	switch {
	case !known:
		return "", ""
	case runtime.GOOS == "darwin":
		return p.binary, "brew install qemu"
	}
	return p.binary, "apt-get install " + p.debian
}

// Capabilities returns what the plugin says of itself. arches are those whose QEMU is installed, accelerators those that can be used, best first. Shares by virtio-fs are
// offered unless there is a reason why not.
func Capabilities(arches, accelerators []string, noVirtioFS error) map[string][]string {
	var kernels []string
	for _, arch := range arches {
		kernels = append(kernels, profiles[arch].kernels...)
	}
	capabilities := map[string][]string{
		hypervisor.CapabilityArch:        arches,
		hypervisor.CapabilityAccelerator: accelerators,
		hypervisor.CapabilityLink:        {network.LinkUnixDatagram},
		hypervisor.CapabilityDisk:        {hypervisor.DiskFile},
		hypervisor.CapabilityShare:       {hypervisor.Share9P},
		hypervisor.CapabilityOwnership:   {hypervisor.OwnershipHost, hypervisor.OwnershipMapped},
		hypervisor.CapabilityFeature: {hypervisor.FeaturePause, hypervisor.FeatureBalloon, hypervisor.FeatureConsole, hypervisor.FeatureTemplate,
			hypervisor.FeatureSnapshot},
		hypervisor.CapabilityMaxDevices: {strconv.Itoa(MaxDevices)},
		hypervisor.CapabilityMaxCPUs:    {strconv.Itoa(MaxCPUs)},
		hypervisor.CapabilityMinMemory:  {strconv.Itoa(MinMemory)},
		hypervisor.CapabilityKernel:     kernels,
		hypervisor.CapabilityOption:     {OptionAccelerator, OptionProfile, OptionCPU, OptionTemplates, OptionStandby, OptionRandomize, OptionTemplatesMaxSize, OptionTemplatesMaxUnused},
	}
	if noVirtioFS == nil {
		capabilities[hypervisor.CapabilityShare] = append(capabilities[hypervisor.CapabilityShare], hypervisor.ShareVirtioFS)
	} else {
		capabilities[hypervisor.CapabilityShareProblem] = []string{hypervisor.ShareVirtioFS + ": " + noVirtioFS.Error()}
	}
	return capabilities
}
