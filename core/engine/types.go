package engine

import (
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/core/health"
	"github.com/vzctl/vzctl/core/runtimespec"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// PullPolicy says when an image is fetched.
type PullPolicy string

// The policies. The zero value is PullMissing.
const (
	PullMissing PullPolicy = "missing"
	PullAlways  PullPolicy = "always"
	PullNever   PullPolicy = "never"
)

// CreateRequest describes a container. Zero values take the image's or the configuration's word.
type CreateRequest struct {
	Name  string // empty: made from the id
	Image string
	// Command replaces the image's Cmd, Entrypoint its Entrypoint (and its Cmd); a non-nil empty Entrypoint clears it.
	Command    []string
	Entrypoint []string
	Env        []string // NAME=VALUE; later ones win
	WorkingDir string
	User       string
	Hostname   string // empty: the short id
	Terminal   bool
	StdinOpen  bool // stdin stays open without an attached client

	CPUs        uint32
	MemoryBytes uint64
	Platform    string // "linux/arm64"; empty: the host's
	Pull        PullPolicy
	Network     string // a network's name, or "none"
	Kernel      string // a kernel's name or path
	ReadOnly    bool
	AutoRemove  bool
	// StartNext says that the caller starts the container as soon as it is created: the process of its supervisor is made beside that. It costs what it takes until the container is
	// started, another verb of this engine takes it, or the engine is closed.
	StartNext bool
	Mounts    []Mount
	// StorageBytes is the size of the layer that takes what the container writes; 0: the configuration's, or DefaultDiskBytes.
	StorageBytes uint64
	// Journal is how file data of that layer is journalled: one of Journals; empty: as the guest's kernel does.
	Journal string
	// IOLimits bound the use of disks.
	IOLimits []IOLimit
	// StopSignal asks the process to end, by name or number; empty: the image's, or SIGTERM. StopSeconds is how long it may take then; nil: 10 s.
	StopSignal  string
	StopSeconds *int
	Restart     string // policy, as restart.Parse reads it; empty: no
	Labels      map[string]string
	// Health is how the container is asked whether it is healthy; what is zero is as the image says, or health's default. NoHealthcheck says that it is not asked.
	Health        health.Check
	NoHealthcheck bool
	// Isolation is what the processes may do and see; SeccompProfile the profile of system calls, as Docker writes it, in place of the default one, and
	// SeccompUnconfined says that there is to be none.
	Isolation         runtimespec.Isolation
	SeccompProfile    []byte
	SeccompUnconfined bool
	// Init has an init process be the container's first.
	Init bool
	// Names is how names are looked up where that is not as the network says.
	Names store.Names
	// Log bounds what is kept of the output. Zero values take the configuration's word.
	Log store.LogLimits
	// Sockets of the host that are joined to the container's. SSH offers it the SSH agent of whoever starts it, too.
	Sockets []store.Socket
	SSH     bool
	// Plugins chooses plugins by name or path, per kind.
	Plugins map[sdk.Kind]string
	// Nested has the container be able to run virtual machines itself. Refused if the hypervisor plugin does not offer that.
	Nested bool
	// HypervisorOptions go to the hypervisor plugin as they are.
	HypervisorOptions map[string]string
}

// Container is what is known of a container without asking anyone but the disk.
type Container struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Image    string            `json:"image"`
	Manifest digest.Digest     `json:"manifest,omitempty"`
	Platform string            `json:"platform,omitempty"`
	State    string            `json:"state"`
	ExitCode *int              `json:"exitCode"`         // nil unless it has ended
	Reason   string            `json:"reason,omitempty"` // exited, killed, oom, vm-crashed, guest-panic, guest-hung, lost, failed, checkpointed
	Message  string            `json:"message,omitempty"`
	PID      int               `json:"pid,omitempty"` // of the supervisor
	Created  time.Time         `json:"created"`
	Started  *time.Time        `json:"started,omitempty"`
	Finished *time.Time        `json:"finished,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`

	Addresses []netip.Prefix `json:"addresses"`
	Network   string         `json:"network,omitempty"`
	Hostname  string         `json:"hostname,omitempty"`

	Sockets []store.Socket `json:"sockets,omitempty"` // that are joined to the host's
	SSH     bool           `json:"ssh,omitempty"`     // the agent of whoever starts it is offered

	Args       []string `json:"args,omitempty"`
	Env        []string `json:"env,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
	User       string   `json:"user,omitempty"`
	Terminal   bool     `json:"terminal,omitempty"`
	ReadOnly   bool     `json:"readOnly,omitempty"`
	AutoRemove bool     `json:"autoRemove,omitempty"`
	// RestartPolicy is empty if the container is never started again by itself; RestartCount says how often it was since its user has started it.
	RestartPolicy string `json:"restartPolicy,omitempty"`
	RestartCount  int    `json:"restartCount"`
	// Health is nil if the container has no health check.
	Health *Health `json:"health,omitempty"`
	// Unresponsive is nil unless the container's guest does not answer now.
	Unresponsive *Unresponsive `json:"unresponsive,omitempty"`

	Mounts []MountView `json:"mounts,omitempty"`

	CPUs        uint32            `json:"cpus,omitempty"`
	MemoryBytes uint64            `json:"memoryBytes,omitempty"`
	IOLimits    []store.IOLimit   `json:"ioLimits,omitempty"`
	Journal     string            `json:"journal,omitempty"` // of the layer that takes what it writes; empty: as the guest's kernel does
	Kernel      string            `json:"kernel,omitempty"`  // path
	Plugins     map[string]string `json:"plugins,omitempty"`
	Sandbox     string            `json:"sandbox,omitempty"`
	LogPath     string            `json:"logPath,omitempty"`
	LogMaxBytes int64             `json:"logMaxBytes,omitempty"` // of one file; 0: the default
	LogMaxFiles int               `json:"logMaxFiles,omitempty"`
	ConsolePath string            `json:"consolePath,omitempty"`
	Accelerator string            `json:"accelerator,omitempty"` // how its VM ran last: "tcg", "kvm"
	Cloned      bool              `json:"cloned,omitempty"`      // whether its VM was last a copy of one that was booted before
	Timeline    []Phase           `json:"timeline,omitempty"`    // of its last start
	Asked       *time.Time        `json:"asked,omitempty"`       // when that was called; Timeline counts from here
	Checkpoint  *Checkpoint       `json:"checkpoint,omitempty"`  // that it can be restored from; nil: none
}

// Unresponsive is a guest that does not answer: when that was found out, and what is known of it, for people.
type Unresponsive struct {
	Since   time.Time `json:"since"`
	Message string    `json:"message"`
}

// Checkpoint is a saved run of a container.
type Checkpoint struct {
	Made      time.Time `json:"made"`
	SizeBytes int64     `json:"sizeBytes"`
	// Layer says that it has a copy of what the container had written, so that the container may be started meanwhile.
	Layer bool `json:"layer,omitempty"`
}

// Phase is one step of a start: when it began after the start was asked for, and how long it took.
type Phase struct {
	Name     string        `json:"name"`
	Begin    time.Duration `json:"begin"`
	Duration time.Duration `json:"duration"`
	Where    string        `json:"where,omitempty"`  // "host" or "guest"
	Within   string        `json:"within,omitempty"` // the step that it is a part of
}

// Exit is how a process ended.
type Exit struct {
	Code   int // 128 + signal if a signal ended it
	Signal int
	Reason string
	// Time when the container's process had ended; zero if it is not known.
	Time time.Time
	// Message is for people, when there is more to say than the code.
	Message string
	// Kept says that the container, which was to be removed at its end, stays: it is being restarted.
	Kept bool
}

// Streams connects a process to the caller. Nil ones are not connected. The engine closes none of them.
type Streams struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Ordered says that Stdout and Stderr lead to one place, where the order is seen of what the process writes to the two: it is kept as far as it can be, which takes a brief process some milliseconds. Otherwise it may come one after the other, in the log as well.
	Ordered bool
	// Resize gives terminal sizes while the process runs, if it has a terminal.
	Resize <-chan WindowSize
	// Detach is closed when the caller leaves the process, which goes on. The call ends with ErrDetached.
	Detach <-chan struct{}
}

// ErrDetached is how a call ends whose caller has left the process by Streams.Detach.
var ErrDetached = errors.New("detached")

// WindowSize of a terminal, in characters.
type WindowSize struct{ Width, Height uint16 }

// ExecRequest runs another process in a running container.
type ExecRequest struct {
	Args       []string
	Env        []string // added to the container's
	WorkingDir string   // empty: the container's
	User       string   // empty: the container's
	Terminal   bool
	Detach     bool
	Privileged bool // all capabilities, whatever the container has
	Size       WindowSize
}

// StopOptions of Stop.
type StopOptions struct {
	// Signal by name or number; empty: the image's stop signal, or SIGTERM.
	Signal string
	// Timeout until SIGKILL; nil: the container's, or 10 s.
	Timeout *time.Duration
}

// UpdateRequest of Update. The zero value changes nothing.
type UpdateRequest struct {
	runtimespec.Limits
	IOLimits []IOLimit // those that are not named stay as they are
	Restart  string    // policy, as restart.Parse reads it; empty: as it is
}

// CheckpointOptions of Checkpoint.
type CheckpointOptions struct {
	// LeaveRunning has the container go on after it was saved.
	LeaveRunning bool
	// LoseConnections saves it although it has open connections to others, which do not outlive it.
	LoseConnections bool
}

// LogOptions of Logs.
type LogOptions struct {
	Follow bool
	// Tail shows the last lines only; negative: all.
	Tail int
	// Since and Until show what came between; zero: no bound. Following ends at Until.
	Since, Until time.Time
	// Timestamps shows when each line came.
	Timestamps bool
	// Boot shows the console of the VM instead of the output.
	Boot bool
}

// Image in the local store.
type Image struct {
	Reference string        `json:"reference"`
	Name      string        `json:"name"` // as people write it
	ID        digest.Digest `json:"id"`   // of the image's config
	Root      digest.Digest `json:"digest"`
	Manifest  digest.Digest `json:"manifest"`
	Platform  string        `json:"platform"`
	Size      int64         `json:"size"` // of its layers as stored, in bytes
	Created   *time.Time    `json:"created,omitempty"`
	Config    any           `json:"config,omitempty"` // the OCI image configuration, from InspectImage
}

// NetworkView is a network and who is on it.
type NetworkView struct {
	Name      string   `json:"name"`
	Plugin    string   `json:"plugin"`
	Subnet    string   `json:"subnet,omitempty"`   // of IPv4, as it was configured or is in use
	SubnetV6  string   `json:"subnetV6,omitempty"` // the same of IPv6
	Running   bool     `json:"running"`
	Endpoints []string `json:"endpoints,omitempty"` // container ids
}

// VerifiedTemplate is a template of the hypervisor plugin, and what reading all of it has shown.
type VerifiedTemplate struct {
	hypervisor.Template
	hypervisor.VerifiedTemplate
}

// PluginView is a plugin that was found.
type PluginView struct {
	Name    string    `json:"name"`
	Kind    sdk.Kind  `json:"kind,omitempty"`
	Version string    `json:"version,omitempty"`
	Path    string    `json:"path"`
	Default bool      `json:"default"`
	Info    *sdk.Info `json:"info,omitempty"`
	Error   string    `json:"error,omitempty"` // why it cannot be used
}

// Check is one line of Doctor.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	// Fix is the command that mends it.
	Fix string `json:"fix,omitempty"`
	// Optional checks may fail on a good host.
	Optional bool `json:"optional,omitempty"`
}

// SystemInfo is what `vzctl system info` shows.
type SystemInfo struct {
	Version    string            `json:"version"`
	Root       string            `json:"root"`
	RuntimeDir string            `json:"runtimeDir"`
	OS         string            `json:"os"`
	Arch       string            `json:"arch"`
	CPUs       int               `json:"cpus"`
	Containers map[string]int    `json:"containers"` // by state
	Images     int               `json:"images"`
	Plugins    map[string]string `json:"plugins"` // selected, by kind
	DiskBytes  int64             `json:"diskBytes"`
	// Checkpoints of containers, and what they take of DiskBytes.
	Checkpoints     int   `json:"checkpoints"`
	CheckpointBytes int64 `json:"checkpointBytes"`
}
