// Package hypervisor is the contract of the hypervisor kind. The comments in sdk/proto/vzctl/hypervisor/v1/hypervisor.proto are part of it:
// order of calls, blocking, idempotency.
package hypervisor

import (
	"context"
	"time"

	"github.com/vzctl/vzctl/sdk/network"
	"github.com/vzctl/vzctl/sdk/progress"
)

// Hypervisor is implemented by a plugin and by its client.
type Hypervisor interface {
	Create(ctx context.Context, requestID string, spec Spec) (VM, error)
	Start(ctx context.Context, id string) (VM, error)
	Stop(ctx context.Context, id string, mode StopMode) (VM, error)
	Delete(ctx context.Context, requestID, id string) error
	Get(ctx context.Context, id string) (VM, error)
	List(ctx context.Context) ([]VM, error)
	// Watch calls event with the present state and then with each change, in order, until the VM is deleted (nil) or ctx ends.
	Watch(ctx context.Context, id string, event func(VM)) error
}

// Pauser is implemented by hypervisors that offer FeaturePause.
type Pauser interface {
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
}

// Attacher is implemented by hypervisors that offer FeatureHotplug.
type Attacher interface {
	AttachDevice(ctx context.Context, requestID, id string, device Device) error
	DetachDevice(ctx context.Context, requestID, id, deviceID string) error
}

// Resizer is implemented by hypervisors that offer FeatureResize. Zero leaves a value as it is.
type Resizer interface {
	Resize(ctx context.Context, id string, cpus uint32, memoryBytes uint64) error
}

// Snapshotter is implemented by hypervisors that offer FeatureSnapshot.
type Snapshotter interface {
	Snapshot(ctx context.Context, requestID, id, directory string, report progress.Func) (sizeBytes uint64, err error)
	Restore(ctx context.Context, requestID, directory string, spec Spec) (VM, error)
}

// Templater is implemented by hypervisors that offer FeatureTemplate.
type Templater interface {
	Templates(ctx context.Context, cacheDir string) ([]Template, error)
	RemoveTemplate(ctx context.Context, cacheDir, id string) error
	VerifyTemplate(ctx context.Context, cacheDir, id string) (VerifiedTemplate, error)
}

// VerifiedTemplate is what reading all of a template has shown.
type VerifiedTemplate struct {
	Damage   string // what is wrong, for people, and why the template was removed; empty if nothing is
	Compared bool   // with a digest that was there before; otherwise one was taken
}

// Template is a booted VM that others are copied from.
type Template struct {
	ID          string
	Description string // of the VMs it is for, for people
	SizeBytes   uint64 // on disk
	Made, Used  time.Time
	Damaged     bool // and never used
}

// Keys and values of Info.Capabilities of this kind.
const (
	CapabilityArch        = "arch"        // values as OCI writes them
	CapabilityAccelerator = "accelerator" // best first
	CapabilityLink        = "link"        // values: network.LinkUnixDatagram, ...
	CapabilityDisk        = "disk"        // values: DiskFile, ...
	CapabilityShare       = "share"       // values: "virtiofs", "9p"
	// CapabilityShareProblem says of types that are not offered on this host why, and what would change that: "virtiofs: no virtiofsd; install it with ...".
	CapabilityShareProblem = "share-problem"
	CapabilityOwnership    = "share-owner" // values: OwnershipHost, ...; none: OwnershipHost
	CapabilityFeature      = "feature"     // values: FeaturePause, ...
	CapabilityMaxDevices   = "max-devices" // one number: disks + shares + NICs
	CapabilityMaxCPUs      = "max-cpus"
	CapabilityMinMemory    = "min-memory" // bytes
	CapabilityKernel       = "kernel"     // values: kernel formats it boots, best first
	CapabilityOption       = "option"     // values: names of Spec.Options it knows

	FeaturePause      = "pause"
	FeatureHotplug    = "hotplug"
	FeatureResize     = "resize"
	FeatureSnapshot   = "snapshot"
	FeatureTemplate   = "template" // VMs are copies of booted ones, kept in Spec.CacheDir
	FeatureNestedVirt = "nested-virtualization"
	FeatureRosetta    = "rosetta"
	FeatureBalloon    = "balloon" // memory freed in the guest returns to the host
	FeatureConsole    = "console"
	DiskFile          = "file"
	DiskBlock         = "block"
	DiskNBD           = "nbd"
	DiskVhostUser     = "vhost-user"
	ShareVirtioFS     = "virtiofs"
	Share9P           = "9p"
	OwnershipHost     = "host"
	OwnershipMapped   = "mapped"
	ShareFile         = "file" // what a shared file is called where the guest finds it
	MaxTag            = 31
	MaxSerial         = 20
)

// Spec describes a VM. See vzctl.hypervisor.v1.Spec.
type Spec struct {
	ID                   string
	Arch                 string
	CPUs                 uint32
	MemoryBytes          uint64
	Kernel               Kernel
	InitrdPath           string
	Disks                []Disk
	Shares               []Share
	NICs                 []NIC
	ConsolePath          string
	RuntimeDir           string
	StateDir             string
	NestedVirtualization bool
	Rosetta              bool
	Options              map[string]string
	CacheDir             string
}

// Kernel to boot.
type Kernel struct {
	Path        string
	Format      string
	CommandLine string
}

// Disk is exactly one of its backends.
type Disk struct {
	Serial    string
	ReadOnly  bool
	File      *FileBackend
	Block     *BlockBackend
	NBD       *NBDBackend
	VhostUser *VhostUserBackend

	// Lasting says that what is on the disk is the same for as long as its file exists, in a file system of this kind. Reads are paths there that the guest will probably read first, a hint.
	Lasting    bool
	FileSystem string
	Reads      []string
	// Fresh says that a writable disk probably is as it was made, with an empty file system of that kind for a container's writable layer.
	Fresh bool
}

// FileBackend is a disk image.
type FileBackend struct{ Path, Format string }

// BlockBackend is a block device of the host.
type BlockBackend struct{ Path string }

// NBDBackend is a network block device.
type NBDBackend struct {
	URL              string
	ReconnectSeconds uint32
}

// VhostUserBackend is a disk served by another process.
type VhostUserBackend struct{ SocketPath string }

// Share is a directory of the host, or a file, which the guest finds as ShareFile in a directory of its own. See vzctl.hypervisor.v1.Share.
type Share struct {
	Tag       string
	Path      string
	ReadOnly  bool
	Type      string
	Ownership string // "" is OwnershipHost
}

// NIC is a network card.
type NIC struct {
	ID   string
	MAC  string
	MTU  uint32
	Link network.Link
}

// Device is exactly one of Disk, Share and NIC.
type Device struct {
	ID    string
	Disk  *Disk
	Share *Share
	NIC   *NIC
}

// VM is a virtual machine as it is.
type VM struct {
	ID          string
	State       State
	VsockPath   string // hybrid vsock, see the proto
	Accelerator string
	PID         int64
	Exit        *Exit // in state Stopped, once it has run
	Cloned      bool  // copied from a VM that was booted from the same kernel and initrd
}

// State of a VM.
type State string

// The states.
const (
	Created  State = "created"
	Starting State = "starting"
	Running  State = "running"
	Paused   State = "paused"
	Stopped  State = "stopped"
)

// Exit tells how a VM ended.
type Exit struct {
	Reason  ExitReason
	Message string
	Time    time.Time
}

// ExitReason of an Exit.
type ExitReason string

// The reasons.
const (
	GuestShutdown ExitReason = "guest-shutdown"
	GuestPanic    ExitReason = "guest-panic"
	ByRequest     ExitReason = "stopped"
	Crashed       ExitReason = "crashed"
)

// StopMode of Stop.
type StopMode string

// The modes. See vzctl.hypervisor.v1.StopMode.
const (
	Kill       StopMode = "kill"
	AwaitGuest StopMode = "await-guest"
)
