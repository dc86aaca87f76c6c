// Package engine is what a command line, or any Go program, does with containers: one method per verb. It reads and writes the records under
// its root, starts plugins for what must be done at create, and talks to the supervisor of a running container. It holds no
// state of its own between calls: any number of engines, in any number of processes, may work on one root.
//
// Read api.go for the verbs, create.go and start.go for how a container comes to be.
package engine

import (
	"context"
	"io"
	"time"

	"github.com/hashicorp/go-hclog"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/core/config"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/progress"
)

// Options of Open.
type Options struct {
	// Root is the directory of all that lasts; empty: VZCTL_ROOT, the configuration's, or the platform's default.
	Root string
	// Config is what config.Load gave; nil: loaded from the default places.
	Config *config.Config
	// Program is the command that supervisors and network daemons are started with, to which "supervise" or "netd" and arguments are added; empty: this
	// executable. A program that embeds the engine gives the path of a vzctl.
	Program []string
	// PluginsDir holds the built-in plugins, InitrdPath is the guest's init image for the host's architecture, beside which those for others are, see
	// Engine.Initrd; empty: beside Program, or above it in libexec/vzctl.
	PluginsDir string
	InitrdPath string
	Version    string
	Log        hclog.Logger
}

// API lists the verbs of *Engine, so that its users can be tested against a fake. A ref is a container's name, id, or unique beginning of an id.
type API interface {
	Create(ctx context.Context, request CreateRequest, report progress.Func) (Container, error)
	// Start returns once the process runs. Streams attached by AttachStart miss nothing.
	Start(ctx context.Context, ref string) (Container, error)
	// AttachStart starts a container with streams connected from the first byte, and returns when it has stopped and all
	// output is written. started is called once the process runs.
	AttachStart(ctx context.Context, ref string, streams Streams, started func(Container)) (Exit, error)
	// Attach connects to a running container until it stops or ctx ends, which leaves it running.
	Attach(ctx context.Context, ref string, streams Streams) (Exit, error)
	Exec(ctx context.Context, ref string, request ExecRequest, streams Streams) (Exit, error)
	// CheckHealth has the health check of a running container executed now; the result counts as others do.
	CheckHealth(ctx context.Context, ref string) (Probe, error)
	// CopyFrom and CopyTo copy files and trees between a container, running or not, and the host, by the rules of docker cp; ReadTar and WriteTar do it with tars. Files are there whole or
	// not at all. What was left out is returned, for people, also beside an error.
	CopyFrom(ctx context.Context, ref, source, destination string, options CopyOptions, report progress.Func) (warnings []string, err error)
	CopyTo(ctx context.Context, ref, source, destination string, options CopyOptions, report progress.Func) (warnings []string, err error)
	ReadTar(ctx context.Context, ref, source string, options CopyOptions, to io.Writer, report progress.Func) (warnings []string, err error)
	WriteTar(ctx context.Context, ref, destination string, from io.Reader, report progress.Func) (warnings []string, err error)
	// Export writes a tar of a container's root file system, Changes lists what differs from its image, and Commit makes an image of that.
	Export(ctx context.Context, ref string, to io.Writer, report progress.Func) (warnings []string, err error)
	Changes(ctx context.Context, ref string) ([]FileChange, error)
	Commit(ctx context.Context, ref string, request CommitRequest, report progress.Func) (image Image, warnings []string, err error)
	// HoldFiles freezes, thaws or trims the file system of a container, which has to run unless it is trimmed.
	HoldFiles(ctx context.Context, ref string, action HoldAction) error
	// Checkpoint saves a running container, with what its processes have in memory, and stops it unless it is to go on. After an error it goes on. A container has one
	// checkpoint at most.
	Checkpoint(ctx context.Context, ref string, options CheckpointOptions) (Container, error)
	// Restore lets a stopped container go on from its checkpoint, which is used up by that. AttachRestore is to it what AttachStart is to Start.
	Restore(ctx context.Context, ref string) (Container, error)
	AttachRestore(ctx context.Context, ref string, streams Streams, started func(Container)) (Exit, error)
	// RemoveCheckpoint removes what Restore would need. That there is none is an error.
	RemoveCheckpoint(ctx context.Context, ref string) error
	Stop(ctx context.Context, ref string, options StopOptions) error
	// Kill sends a signal, "" being SIGKILL, to a container that runs. One that is paused hears none but SIGKILL, which is then a Stop without patience.
	Kill(ctx context.Context, ref, signal string) error
	// Pause lets the VM of a running container stand still, and Unpause lets it go on, with the time of the host. Stop and Remove of a paused one let it go on first.
	Pause(ctx context.Context, ref string) error
	Unpause(ctx context.Context, ref string) error
	// Restart is Stop, unless it does not run, and Start. What it has written is kept even if it would be removed at its end.
	Restart(ctx context.Context, ref string, options StopOptions) error
	// Rename gives a container, whatever its state, another name.
	Rename(ctx context.Context, ref, name string) error
	// Update changes the limits of a container, at once if it runs, and for all later starts.
	Update(ctx context.Context, ref string, request UpdateRequest) error
	Remove(ctx context.Context, ref string, force bool) error
	// RemoveWithVolumes removes the volumes, too, that were made for the container and have no name of their own.
	RemoveWithVolumes(ctx context.Context, ref string, force bool) error
	// PruneContainers removes the containers that do not run, but those that have a checkpoint or are started at the host's boot, and returns them.
	PruneContainers(ctx context.Context) (removed []Container, err error)
	// Autostart starts the containers that are to run after the host's boot; Autostop stops all, for its end. Each is called for every one of them.
	Autostart(ctx context.Context, each func(name string, err error)) error
	Autostop(ctx context.Context, each func(name string, err error)) error
	// Wait returns when the container has stopped.
	Wait(ctx context.Context, ref string) (Exit, error)
	List(ctx context.Context) ([]Container, error)
	Inspect(ctx context.Context, ref string) (Container, error)
	// InspectOCI returns the OCI runtime spec that the guest enforces.
	InspectOCI(ref string) (*specs.Spec, error)
	// Events tells what has happened, and what happens, until ctx ends or each fails.
	Events(ctx context.Context, options EventsOptions, each func(Event) error) error
	Logs(ctx context.Context, ref string, options LogOptions, stdout, stderr io.Writer) error
	// Stats calls each with what a running container uses, at once and after each interval (at least 100 ms), until it has ended or each fails.
	Stats(ctx context.Context, ref string, interval time.Duration, each func(Stats) error) error
	// Top returns the processes of a running container.
	Top(ctx context.Context, ref string) ([]Process, error)

	PullImage(ctx context.Context, reference, platform string, plugin string, report progress.Func) (Image, error)
	ListImages(ctx context.Context) ([]Image, error)
	InspectImage(ctx context.Context, ref, platform string) (Image, error)
	RemoveImage(ctx context.Context, ref string) (freedBytes int64, err error)
	// PruneImages frees what no image has any more and, if all is set, first removes the images that no container has. It is refused while they are in use.
	PruneImages(ctx context.Context, all bool) (removed []Image, freedBytes int64, err error)
	// BuildRootfs writes the root file system of an image (pulled if missing) to a file that does not exist yet.
	BuildRootfs(ctx context.Context, reference, platform, output string, report progress.Func) error

	// CreateVolume makes a volume, unless there is the same.
	CreateVolume(ctx context.Context, request VolumeRequest) (VolumeView, error)
	ListVolumes(ctx context.Context) ([]VolumeView, error)
	InspectVolume(ctx context.Context, name string) (VolumeView, error)
	RemoveVolume(ctx context.Context, name string) error
	// PruneVolumes removes the volumes that no container has: those without a name of their own, or all.
	PruneVolumes(ctx context.Context, all bool) (removed []VolumeView, err error)

	ListNetworks(ctx context.Context) ([]NetworkView, error)
	ListTemplates(ctx context.Context) ([]hypervisor.Template, error)
	RemoveTemplate(ctx context.Context, id string) error
	// VerifyTemplates reads all of each template and removes damaged ones.
	VerifyTemplates(ctx context.Context) ([]VerifiedTemplate, error)
	// WarmTemplate makes the template for containers that the request would make, unless it is there.
	WarmTemplate(ctx context.Context, request CreateRequest, report progress.Func) (hypervisor.Template, error)
	ListKernels(ctx context.Context) ([]kernel.Kernel, error)
	// Kernel returns the kernel a container of the platform would get; empty strings mean the defaults.
	Kernel(ctx context.Context, reference, platform string, report progress.Func) (kernel.Kernel, error)
	ListPlugins(ctx context.Context) ([]PluginView, error)
	InspectPlugin(ctx context.Context, nameOrPath string) (PluginView, error)
	Doctor(ctx context.Context) ([]Check, error)
	SystemInfo(ctx context.Context) (SystemInfo, error)
	DiskUsage(ctx context.Context) ([]DiskUsage, error)
}
