package store

import (
	"net/netip"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/core/health"
	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// SchemaVersion of the records this program writes. It changes when an older program would misread a newer record.
const SchemaVersion = 2

// Container is the record of a container: what was asked for, what it was resolved to, and how it is. What it shares with others in the same VM
// is in the [Sandbox].
type Container struct {
	Schema  int       `json:"schema"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`

	Image    string        `json:"image"` // as the user wrote it, completed
	Manifest digest.Digest `json:"manifest,omitempty"`
	Platform string        `json:"platform,omitempty"` // "linux/amd64"

	Process    Process   `json:"process"`
	ReadOnly   bool      `json:"readOnly,omitempty"` // root file system
	AutoRemove bool      `json:"autoRemove,omitempty"`
	Hostname   string    `json:"hostname,omitempty"`
	Network    string    `json:"network,omitempty"`
	Names      Names     `json:"names,omitzero"`
	Log        LogLimits `json:"log,omitzero"`
	// Sockets of the host that are joined to the container's. SSH has the agent of whoever starts the container be one more.
	Sockets   []Socket          `json:"sockets,omitempty"`
	SSH       bool              `json:"ssh,omitempty"`
	Resources Resources         `json:"resources"`
	Labels    map[string]string `json:"labels,omitempty"`
	// Plugins that serve the container, by kind: names or paths, already resolved.
	Plugins map[sdk.Kind]string `json:"plugins,omitempty"`
	// Disks of the root file system, lowest first, the writable layer not among them. Their files are leased, see [Store.Leases].
	Disks []rootfs.Disk `json:"disks,omitempty"`
	// Layer is the writable disk; empty path: none.
	Layer rootfs.Disk `json:"layer,omitzero"`
	// Journal is how file data of Layer is journalled, as of volumes; empty: as the guest's kernel does.
	Journal string `json:"journal,omitempty"`
	// Mapped says that the container has a user namespace, whose ids its root shows.
	Mapped  bool    `json:"mapped,omitempty"`
	Mounts  []Mount `json:"mounts,omitempty"`
	Sandbox string  `json:"sandbox,omitempty"` // id

	// Health is how the container is asked whether it is healthy; nil: it is not.
	Health *health.Check `json:"health,omitempty"`

	State   lifecycle.State `json:"state"`
	Desired Desired         `json:"desired,omitempty"`
	Restart Restart         `json:"restart,omitzero"`
	// BootID of the host on which State was recorded. After a reboot nothing runs, whatever the record says.
	BootID string `json:"bootId,omitempty"`
	// Run is the present run, or the last one; nil before the first.
	Run *Run `json:"run,omitempty"`
	// Exit is how the last run ended; nil while it lasts.
	Exit *Exit `json:"exit,omitempty"`
	// Checkpoint is what the container can be restored from; nil: nothing. That it is on record is what makes it one.
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`
}

// Process is what runs in the container. Env may hold secrets, so records are readable by their owner only.
type Process struct {
	Args       []string `json:"args"`
	Env        []string `json:"env,omitempty"` // NAME=VALUE
	WorkingDir string   `json:"workingDir,omitempty"`
	User       string   `json:"user,omitempty"`
	Terminal   bool     `json:"terminal,omitempty"`
	StdinOpen  bool     `json:"stdinOpen,omitempty"`
	StopSignal string   `json:"stopSignal,omitempty"`
	// StopSeconds is how long it may take to end after StopSignal; nil: as long as any.
	StopSeconds *int `json:"stopSeconds,omitempty"`
	// Groups are further ones by name; those by number are in the runtime spec.
	Groups []string `json:"groups,omitempty"`
	// Filtered says that the container has a filter of system calls, see [Paths.ContainerFilter].
	Filtered bool `json:"filtered,omitempty"`
	// Init has the guest's own init process be the first, and this the second.
	Init bool `json:"init,omitempty"`
}

// Names is how a container looks up names, where that is not as its network says.
type Names struct {
	Hosts      []Host       `json:"hosts,omitempty"`
	DNS        []netip.Addr `json:"dns,omitempty"`
	DNSSearch  []string     `json:"dnsSearch,omitempty"`
	DNSOptions []string     `json:"dnsOptions,omitempty"`
}

// Host is a line of /etc/hosts.
type Host struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
}

// LogLimits bound what is kept of a container's output; see containerlog.Limits. Zero values are the program's defaults.
type LogLimits struct {
	MaxBytes int64 `json:"maxBytes,omitempty"` // of one file
	MaxFiles int   `json:"maxFiles,omitempty"`
}

// Socket is a pair of unix sockets, on the host and in the container, that are joined.
type Socket struct {
	Host      string `json:"host"`      // absolute path
	Container string `json:"container"` // absolute path
	// Publish says that a process of the container listens, and the host's socket is made. Otherwise somebody on the host listens, and the container's is made.
	Publish bool `json:"publish,omitempty"`
	// Mode, UID and GID of the socket that is made; nil: 0600 and this user on the host, 0660 and the process's user in the container.
	Mode *uint32 `json:"mode,omitempty"`
	UID  *uint32 `json:"uid,omitempty"`
	GID  *uint32 `json:"gid,omitempty"`
}

// Resources a container may use.
type Resources struct {
	CPUs        uint32 `json:"cpus"`
	MemoryBytes uint64 `json:"memoryBytes"`
	// IO bounds the use of disks; those that are not named have no bounds.
	IO []IOLimit `json:"io,omitempty"`
}

// Desired is what a container should be, whatever it is.
type Desired string

// What a container should be.
const (
	DesiredRunning Desired = "running"
	DesiredStopped Desired = "stopped"
)

// Restart is when a container is started again, and how often it was.
type Restart struct {
	Policy  string        `json:"policy,omitempty"` // as restart.Parse reads it; empty: never
	Count   int           `json:"count,omitempty"`  // since the user has started it
	Delay   time.Duration `json:"delay,omitempty"`  // before the last of these
	NextTry time.Time     `json:"nextTry,omitzero"`
}

// Run is one run of a container.
type Run struct {
	Asked       time.Time      `json:"asked"`             // when start was called
	Timed       bool           `json:"timed,omitempty"`   // somebody wants to know where its time goes
	Apart       bool           `json:"apart,omitempty"`   // nobody sees the order of what the process writes to its two outputs
	Restore     bool           `json:"restore,omitempty"` // it goes on from the checkpoint
	Started     time.Time      `json:"started,omitzero"`  // when the process ran
	PID         int            `json:"pid,omitempty"`     // of the supervisor, to show; whether it lives is asked of its lock
	Addresses   []netip.Prefix `json:"addresses,omitempty"`
	Accelerator string         `json:"accelerator,omitempty"`
	Cloned      bool           `json:"cloned,omitempty"` // its VM is a copy of one that was booted before
	Timeline    []Phase        `json:"timeline,omitempty"`
	// Unresponsive is set while its guest does not answer.
	Unresponsive *Unresponsive `json:"unresponsive,omitempty"`
}

// Unresponsive is a guest that does not answer.
type Unresponsive struct {
	Since   time.Time `json:"since"` // when it was found out, some seconds after it began
	Message string    `json:"message"`
}

// Checkpoint is a run that was saved, and can go on once. All that it needs lasts: nothing of it is of one boot of the host.
type Checkpoint struct {
	Made      time.Time `json:"made"`
	Directory string    `json:"directory"` // its name below the sandbox's, see Paths.SandboxCheckpoint
	SizeBytes int64     `json:"sizeBytes"`
	// Layer says that the directory has a copy of the writable layer, because the container went on. Otherwise the layer is the container's own,
	// and must be as it was.
	Layer bool `json:"layer,omitempty"`
	// Disks as they were, the writable layer among them unless there is a copy.
	Disks []DiskState `json:"disks"`
	// Addresses and MAC on the network, which the processes go on using.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	MAC       string         `json:"mac,omitempty"`
	// InputEnded says that the first process gets no more input.
	InputEnded bool `json:"inputEnded,omitempty"`
}

// DiskState tells whether a disk's file was changed.
type DiskState struct {
	Path     string    `json:"path"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

// Phase is one step of a start.
type Phase struct {
	Name     string        `json:"name"`
	Begin    time.Duration `json:"begin"` // after Run.Asked
	Duration time.Duration `json:"duration"`
	Where    string        `json:"where,omitempty"`  // "host" or "guest"
	Within   string        `json:"within,omitempty"` // the step that it is a part of
}

// Exit is how a run ended.
type Exit struct {
	Code    int              `json:"code"` // 128 + Signal if a signal ended it
	Signal  int              `json:"signal,omitempty"`
	Reason  lifecycle.Reason `json:"reason"`
	Message string           `json:"message,omitempty"`
	Time    time.Time        `json:"time"`
}

// Advance moves the record along the table of package lifecycle, or returns its refusal with the container's name.
func (c *Container) Advance(event lifecycle.Event) error {
	next, err := lifecycle.Next(c.State, event)
	if err != nil {
		return &lifecycle.TransitionError{Container: c.Name, State: c.State, Event: event}
	}
	c.State = next
	return nil
}

// ShortID is how ids are shown.
func ShortID(id string) string { return id[:min(len(id), 12)] }
