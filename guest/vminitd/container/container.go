// Package container keeps the containers of this VM and their processes, from creation to deletion. runtime.go has the calls, container.go one container,
// process.go one process, spec.go what a runtime spec may ask for.
package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/cgroup"
	"github.com/vzctl/vzctl/guest/vminitd/failure"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
	"github.com/vzctl/vzctl/guest/vminitd/launch"
	"github.com/vzctl/vzctl/guest/vminitd/phase"
	"github.com/vzctl/vzctl/guest/vminitd/reap"
	"github.com/vzctl/vzctl/guest/vminitd/rootfs"
	"github.com/vzctl/vzctl/guest/vminitd/sockets"
	"github.com/vzctl/vzctl/guest/vminitd/sources"
	"github.com/vzctl/vzctl/guest/vminitd/userns"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Disk is one of the machine's, by its serial.
type Disk struct{ Serial, FileSystem, Journal string }

// IOLimit bounds the use of a volume among the sources or, with an empty name, of each disk of the root.
type IOLimit struct {
	Source string
	cgroup.Rates
}

// Request is a container to be created.
type Request struct {
	ID       string
	Lower    []Disk
	Upper    *Disk // nil: the root is read-only
	ReadOnly bool
	Spec     []byte
	// Sources are what relative sources of the spec's bind mounts are below.
	Sources  []sources.Source
	IOLimits []IOLimit
	User     string
	Hostname string
	// Seccomp is in place of the spec's, if it is not nil.
	Seccomp *helper.Filter
	// Groups are further ones of all processes, by name.
	Groups []string
	// Init has the first process be ours, see package helper.
	Init bool
	// InputEnded has the first process find its input at its end, unless it has a terminal.
	InputEnded bool
	// Hosts and ResolvConf are the container's files.
	Hosts, ResolvConf []byte
	// Sockets are joined to the host's.
	Sockets []sockets.Socket
}

// Container is one.
type Container struct {
	id      string
	runtime *Runtime
	dir     string // of its files and mounts
	spec    *specs.Spec
	root    *rootfs.Root
	devices []string // of the root's disks
	sources *sources.Set
	group   *cgroup.Group
	init    *Process
	filters []helper.Filter // of system calls
	groups  []string
	sockets *sockets.Set
	userns  *userns.Namespace // its own, or nil

	updating sync.Mutex // held while its limits are changed

	direct direct
	known  helper.Known
	kills  atomic.Uint64 // see oomKills

	// Guarded by the runtime's lock.
	spare     *launch.Helper // in the group, for the first start of the first process
	created   bool
	memory    func()        // ends watchMemory; nil if that has not begun
	namespace *os.File      // see holdMounts
	directory *os.File      // see rootDirectory
	deleting  chan struct{} // not nil while a deletion is under way; closed at its end
	processes map[string]*Process
	fileUses  fileUses
}

// build does the work of creation; the container is not visible yet. What it made is in c even if it fails.
func (c *Container) build(ctx context.Context, r Request) error {
	spec, err := parseSpec(r.Spec)
	if err != nil {
		return err
	}
	flags, err := namespaces(spec.Linux.Namespaces)
	if err != nil {
		return err
	}
	ids, err := idMaps(spec)
	if err != nil {
		return err
	}
	if err := checkSockets(r.Sockets); err != nil {
		return err
	}
	c.spec, c.groups = spec, r.Groups
	if c.filters, err = c.runtime.filters(spec.Linux.Seccomp, r.Seccomp); err != nil {
		return err
	}
	phase.Done(ctx, "spec")
	init := initConfig(spec, flags)
	if ids == nil { // the machine's are nobody's who is in a user namespace
		if init.Devices, err = devices(spec); err != nil {
			return err
		}
	}
	if err := refresh(spec); err != nil {
		return fmt.Errorf("draw random numbers of the machine: %w", err)
	}
	init.ReadOnly = init.ReadOnly || r.ReadOnly || r.Upper == nil
	init.Hostname = r.Hostname
	if init.Hostname == "" {
		init.Hostname = spec.Hostname
	}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return err
	}
	spare := c.runtime.takeSpare()
	if spare != nil {
		c.group, c.spare = spare.group, spare.helperFor(flags)
	} else if c.group, err = cgroup.Create(c.id); err != nil {
		return err
	}
	if err := c.group.Limit(spec.Linux.Resources); err != nil {
		return limitError(err)
	}
	phase.Done(ctx, "cgroup")
	if err := c.makeUserNamespace(ids, init); err != nil {
		return err
	}
	if c.root, err = c.mount(ctx, r); err != nil {
		return &fault.Error{Reason: fault.Invalid, Op: "mount root file system of container", Subject: c.id, Cause: err}
	}
	phase.Done(ctx, "mount")
	if c.sources, err = sources.Mount(ctx, c.dir, sources.Root{Path: c.root.Path, IDs: ids}, r.Sources, c.runtime.disks.Find); err != nil {
		return &fault.Error{Reason: fault.Invalid, Op: "mount for container", Subject: c.id, Cause: err}
	}
	if len(r.IOLimits) > 0 {
		limits, err := c.disksOf(r.IOLimits)
		if err != nil {
			return err
		}
		if err := c.group.LimitIO(limits); err != nil {
			return limitError(err)
		}
	}
	if init.Mounts, err = c.locate(spec.Mounts); err != nil {
		return err
	}
	if len(r.Sources) > 0 {
		phase.Done(ctx, "sources")
	}
	init.Rootfs = c.root.Path
	if init.Files, err = c.writeFiles(init.Hostname, r); err != nil {
		return err
	}
	inMachine, err := mappedSockets(r.Sockets, ids)
	if err != nil {
		return err
	}
	if c.sockets, err = sockets.Open(c.id, c.dir, inMachine, c.runtime.dial); err != nil {
		return err
	}
	init.Files = append(init.Files, c.sockets.Files()...)
	if ids != nil {
		err = c.giveFiles(init)
	} else if c.spare != nil {
		spare.unstage(init)
	}
	if err != nil {
		return err
	}
	phase.Done(ctx, "files")
	c.init, err = newProcess(c, InitProcess, helper.Config{Init: init, Process: spec.Process, User: r.User, Groups: c.groups, Filters: c.filters,
		Supervised: r.Init, IDs: ids}, r.InputEnded)
	return err
}

// takeHelper returns the spare helper once.
func (c *Container) takeHelper() *launch.Helper {
	c.runtime.mu.Lock()
	defer c.runtime.mu.Unlock()
	taken := c.spare
	c.spare = nil
	return taken
}

func (c *Container) unwatchMemory() {
	c.runtime.mu.Lock()
	stop := c.memory
	c.memory = nil
	c.runtime.mu.Unlock()
	if stop != nil {
		stop()
	}
}

func limitError(err error) error {
	if failure.ReasonOf(err) != failure.Internal {
		return err
	}
	return &fault.Error{Reason: fault.Invalid, Op: "limit the container", Cause: err}
}

func (c *Container) mount(ctx context.Context, r Request) (*rootfs.Root, error) {
	var lower []rootfs.Disk
	for _, d := range r.Lower {
		device, err := c.runtime.disks.Find(ctx, d.Serial)
		if err != nil {
			return nil, err
		}
		disk := rootfs.Disk{Device: device, FileSystem: d.FileSystem}
		disk.Mounted = c.runtime.mountedAlready(d.Serial, disk)
		lower = append(lower, disk)
		c.devices = append(c.devices, device)
	}
	var upper *rootfs.Disk
	if r.Upper != nil {
		device, err := c.runtime.disks.Find(ctx, r.Upper.Serial)
		if err != nil {
			return nil, err
		}
		upper = &rootfs.Disk{Device: device, FileSystem: r.Upper.FileSystem, Journal: r.Upper.Journal}
		c.devices = append(c.devices, device)
	}
	phase.Done(ctx, "find disks")
	if root, err := c.runtime.takeRoot(r.Lower, r.Upper, c.userns != nil); root != nil || err != nil {
		return root, err
	}
	return rootfs.Mount(c.dir, lower, upper, places, c.userns)
}

// disksOf finds the devices that limits are of.
func (c *Container) disksOf(limits []IOLimit) (found []cgroup.IOLimit, err error) {
	for _, l := range limits {
		devices := c.devices
		if l.Source != "" {
			devices = []string{c.sources.Device(l.Source)}
		}
		for _, device := range devices {
			if device == "" {
				return nil, &fault.Error{Reason: fault.Invalid, Op: "limit the use of disks", Subject: c.id, Cause: fmt.Errorf("there is no volume %.40q", l.Source)}
			}
			found = append(found, cgroup.IOLimit{Device: device, Rates: l.Rates})
		}
	}
	return found, nil
}

// locate gives bind mounts of the container's sources the paths where these are mounted.
func (c *Container) locate(mounts []specs.Mount) ([]specs.Mount, error) {
	located := slices.Clone(mounts)
	for i, m := range located {
		if filepath.IsAbs(m.Source) || m.Type != "bind" && !slices.Contains(m.Options, "bind") && !slices.Contains(m.Options, "rbind") {
			continue
		}
		path, err := c.sources.Path(m.Source)
		if err != nil {
			return nil, &fault.Error{Reason: fault.Invalid, Op: "mount", Subject: m.Destination, Cause: err}
		}
		located[i].Source = path
	}
	return located, nil
}

// writeFiles makes the files that are put over the image's own.
func (c *Container) writeFiles(hostname string, r Request) (files []helper.File, err error) {
	for _, f := range []struct {
		name string
		data []byte
	}{{"hosts", r.Hosts}, {"hostname", []byte(hostname + "\n")}, {"resolv.conf", r.ResolvConf}} {
		destination := "/etc/" + f.name
		if c.mounts(destination) {
			continue // the spec has its own
		}
		source := filepath.Join(c.dir, f.name)
		if err := os.WriteFile(source, f.data, 0o644); err != nil {
			return nil, err
		}
		files = append(files, helper.File{Source: source, Destination: destination})
	}
	return files, nil
}

func (c *Container) mounts(destination string) bool {
	for _, m := range c.spec.Mounts {
		if filepath.Clean(m.Destination) == destination {
			return true
		}
	}
	return false
}

// runningInit returns the first process, which others join.
func (c *Container) runningInit() (*reap.Child, error) {
	if child := c.init.running(); child != nil {
		return child, nil
	}
	return nil, &fault.Error{Reason: fault.FailedPrecondition, Op: "join container", Subject: c.id, Cause: errors.New("it is not running")}
}

// undo removes what a failed build made.
func (c *Container) undo(ctx context.Context) error {
	if c.init != nil {
		c.init.delete()
	}
	return c.destroy(context.WithoutCancel(ctx), nil, false)
}

// destroy kills and removes all there is of the container. It may be called again after an error. If it is the machine's last deed only what is on the disks matters.
func (c *Container) destroy(ctx context.Context, processes []*Process, last bool) error {
	if c.group != nil {
		if err := c.group.Kill(); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("kill the container's processes: %w", err)
		}
	}
	// After that: a freeze under way may wait for a process, and those wait for the thaw.
	if err := c.thawFiles(); err != nil {
		return fmt.Errorf("thaw the container's file system: %w", err)
	}
	c.sockets.Close()
	for _, p := range processes {
		p.awaitStart() // which the kill has ended, if there was one
		if p.running() != nil {
			if _, err := p.Wait(ctx); err != nil {
				return fmt.Errorf("wait for process %q to end: %w", p.id, err)
			}
		}
		p.delete()
	}
	if spare := c.takeHelper(); spare != nil {
		spare.Discard()
	}
	c.unwatchMemory()
	c.endFileUses()
	if c.userns != nil {
		_ = c.userns.Close() // only looked at
	}
	// What is not yet written out is charged to who wrote it, and would be held up by the container's limits for longer than a host waits.
	if c.group != nil {
		if err := c.group.LiftIO(); err != nil {
			return fmt.Errorf("lift the limits of the container's disks: %w", err)
		}
	}
	if last && c.sources.Empty() && c.root != nil {
		err := c.root.Settle()
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) { // to unmount would not say that something was not written
			return fmt.Errorf("write out the container's files: %w", err)
		}
	}
	if err := c.releaseMounts(); err != nil {
		return err
	}
	if c.sources != nil {
		if err := c.sources.Unmount(); err != nil {
			return err
		}
	}
	if c.root != nil {
		if err := c.root.Unmount(); err != nil {
			return err
		}
	}
	if c.group != nil {
		if err := c.group.Remove(); err != nil {
			return err
		}
	}
	return os.RemoveAll(c.dir)
}
