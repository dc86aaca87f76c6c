// Package sandbox runs one sandbox in this process: a VM, its place on a network, and the container in it. It owns them from Start until the container has
// ended, and leaves nothing behind, whatever fails. It reads and writes no records and knows no command line: the package supervisor puts it
// into a process of its own.
//
// start.go lists the steps of a start, step_*.go are the steps, running.go is what happens then, save.go how a run is saved, and step_restore.go how it goes on.
package sandbox

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/sockets"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/network"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// Spec is all that a start needs. It was resolved when the container was created, so that a start asks nobody.
type Spec struct {
	ID          string // of the sandbox
	ContainerID string

	Arch        string
	CPUs        uint32
	MemoryBytes uint64 // of the VM
	Kernel      kernel.Kernel
	InitrdPath  string
	// Lower are the image's disks, lowest first; Layer takes what the container writes, unless it is nil.
	Lower    []rootfs.Disk
	Reads    []string // paths in the image that are probably read first, see hypervisor.Disk
	Layer    *rootfs.Disk
	Journal  string // of Layer, as of a Volume
	Mapped   bool   // the root shows other ids than the disks have
	ReadOnly bool
	// Discarded says that the layer is removed with the sandbox, so that its guest need not write it out in the end.
	Discarded bool

	// Shares and Volumes are what the runtime spec's bind mounts are made of: the source of one is "sources/" and the share's tag, or the volume's name.
	Shares  []hypervisor.Share
	Volumes []Volume
	// IOLimits bound the use of disks.
	IOLimits []IOLimit

	// Apart says that nobody sees the order of what the process writes to its two outputs: it may come one after the other.
	Apart bool
	// Timed has the guest measure its part of the start, which takes time itself.
	Timed bool

	Hostname string
	// OCISpec is the runtime spec as JSON, User whom the process runs as, "" for root.
	OCISpec []byte
	User    string
	// Filter of system calls, made of the part of the spec that OCISpec then does not have; nil: none.
	Filter *Filter
	// Groups are further ones of the process by name. Init has it be the second, and the guest's own init process the first.
	Groups []string
	Init   bool
	// Hosts are further lines of /etc/hosts. What of DNS is set is in place of the network's.
	Hosts    []Host
	DNS      network.DNS
	Terminal bool
	// Sockets of the host that are joined to the container's.
	Sockets []Socket
	// StdinOpen keeps the process's input open while nobody is attached; otherwise it is at its end from the beginning.
	StdinOpen bool

	// Network is a network's name, or "" for none.
	Network string
	// Links are those that the hypervisor takes, as network has them; none: it is asked, when it runs.
	Links []string
	// Wanted addresses; zero values leave the choice to the network.
	Wanted network.AttachRequest

	ConsolePath       string
	RuntimeDir        string // short, mode 0700, made by the caller
	StateDir          string
	CacheDir          string // of the hypervisor plugin, for all sandboxes of the root
	HypervisorOptions map[string]string
	Nested            bool   // the guest may run VMs
	VirtualMachineID  string // "" is ID

	// Restore is a saved run that goes on instead of a new one; nil: it is started.
	Restore *Restore
}

// Restore is what a run goes on from.
type Restore struct {
	Directory string // of Save
	// Addresses and MAC that the processes go on using; none: they have no network.
	Addresses []netip.Prefix
	MAC       string
	// InputEnded says that the first process gets no more input.
	InputEnded bool
}

// Host is a line of /etc/hosts.
type Host struct{ Address, Name string }

// Socket is one of the host that is joined to one of the container.
type Socket struct {
	sockets.Socket
	// Path in the container. Unless the socket is published the guest listens there, with ContainerMode, and ContainerUID and ContainerGID as its owner; nil: the process's user.
	Path                       string
	ContainerMode              uint32
	ContainerUID, ContainerGID *uint32
}

// Filter is a BPF program as guest/seccomp encodes it, and the flags (SECCOMP_FILTER_FLAG_*) it is installed with.
type Filter struct {
	Program []byte
	Flags   uint32
}

// Hypervisor is a running hypervisor plugin.
type Hypervisor interface {
	hypervisor.Hypervisor
	Info() sdk.Info
	// Done is closed when the plugin's process has ended; LastWords then says how.
	Done() <-chan struct{}
	LastWords() string
	Close(ctx context.Context) error
}

// Lease is a place on a network. It is kept, across crashes of whoever keeps the network, until Close.
type Lease interface {
	Endpoint() network.Endpoint
	Close(ctx context.Context) error
}

// Guest is the agent in the VM.
type Guest interface {
	guestv1.AgentClient
	OpenStream(ctx context.Context, request *guestv1.StreamRequest) (net.Conn, error)
	// Booted tells how long after the start of the kernel vminitd ran, and was ready.
	Booted() (initAt, readyAt time.Duration)
	// Answers returns once the agent has answered, and changes nothing in the guest. The time is that of the guest's clock then, or zero.
	Answers(ctx context.Context) (time.Time, error)
	// Offers reports whether the guest has an optional ability.
	Offers(feature string) bool
	Close() error
}

// Environment is what a sandbox needs of the world.
type Environment struct {
	StartHypervisor func(ctx context.Context) (Hypervisor, error)
	// Attach gets a place on Spec.Network.
	Attach func(ctx context.Context, request network.AttachRequest) (Lease, error)
	// Dial connects to the agent, waiting for the VM to boot. copied says that the VM is a copy of one that was booted with the same kernel and init image, and no saved
	// run: what another such guest has said of itself is true of it, and need not be asked for.
	Dial func(ctx context.Context, vsockPath string, copied bool) (Guest, error)
	// Log takes what the process writes: the stream (1 or 2) and the bytes.
	Log func(stream int, p []byte) error
	// Released is called with the process ready to run, and holds it back until it returns.
	Released func(ctx context.Context) error
	// Consume is called when a restored VM is about to go on: what it was restored from is used up.
	Consume func(ctx context.Context) error
	// OutOfMemory is called when the guest's kernel has killed processes of the container for want of memory; nil: nobody wants to know.
	OutOfMemory func()
	// Unresponsive is called when the guest has stopped answering, with what is known of it for people, and with "" when it answers again; nil: nobody wants to know.
	Unresponsive func(why string)
	Logger       hclog.Logger
}

// Reasons of an Outcome, as records and users know them.
const (
	Exited    = "exited"
	Killed    = "killed"
	OutOfMem  = "oom"
	VMCrashed = "vm-crashed"
	Panicked  = "guest-panic" // the guest's kernel gave up
	GuestHung = "guest-hung"
	Saved     = "checkpointed" // it can go on
)

// Outcome is how a container ended.
type Outcome struct {
	Code    int // 128 + signal if a signal ended it
	Signal  int
	Reason  string
	Message string
	Time    time.Time
}

// codeOfCrash is the exit code of a container whose VM ended under it, as if the process had been killed.
const codeOfCrash = 137

// errGuestGone is the cause of everything that ends because the VM did.
var errGuestGone = errors.New("the VM has ended")
