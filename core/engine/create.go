package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/core/images"
	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/runtimespec"
	"github.com/vzctl/vzctl/core/seccomp"
	"github.com/vzctl/vzctl/core/signals"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/supervisor"
	"github.com/vzctl/vzctl/core/timeline"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/progress"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// Create makes a container: all that a start will need is resolved now. After an error nothing is left of it but what is cached.
func (e *Engine) Create(ctx context.Context, request CreateRequest, report progress.Func) (_ Container, err error) {
	surroundings := e.surroundings(request)
	end := timeline.Begin(ctx, "check", timeline.Create)
	if err := e.check(&request); err != nil {
		return Container{}, err
	}
	if err := e.checkGuest(ctx, request); err != nil {
		return Container{}, err
	}
	end()
	// The image's name may be removed meanwhile; its layers and disks stay until the container's record says that they are used.
	release, err := e.images.Hold(ctx)
	if err != nil {
		return Container{}, err
	}
	defer func() {
		if releaseErr := release(); err == nil {
			err = releaseErr
		}
	}()
	end = timeline.Begin(ctx, "image", timeline.Create)
	image, err := e.image(ctx, request, report)
	end()
	if err != nil {
		return Container{}, err
	}
	c, b, spec, err := e.plan(request, image)
	if err != nil {
		return Container{}, err
	}
	if err := e.choosePlugins(ctx, request, &c, &b); err != nil {
		return Container{}, err
	}
	reserve := e.takeFromReserve(request, &c, &b, surroundings)
	defer func() { err = errors.Join(err, reserve.Close()) }() // which does nothing once it is sent
	end = timeline.Begin(ctx, "record", timeline.Create)
	held, err := e.store.Create(ctx, c)
	end()
	if err != nil {
		return Container{}, err
	}
	ready, err := e.make(ctx, request, &c, &b, spec, reserve, report)
	if err != nil {
		undo := context.WithoutCancel(ctx)
		if ready != nil {
			err = errors.Join(err, ready.Close(undo))
		}
		err = errors.Join(err, e.store.RemoveSandbox(undo, b.ID), e.store.Remove(undo, c.ID), held.Close())
		e.discardAnonymous(undo, c.Mounts)
		return Container{}, err
	}
	e.tell(ctx, aboutContainer("create", c))
	if ready == nil {
		defer held.Close()
	} else {
		e.keepPrepared(c.ID, &prepared{held, ready})
	}
	return e.view(c), nil
}

// check fills in defaults and refuses early what needs no look at anything.
func (e *Engine) check(r *CreateRequest) error {
	d := e.config.Defaults
	if err := r.checkText(); err != nil {
		return err
	}
	if err := r.checkSockets(); err != nil {
		return err
	}
	if r.Name != "" {
		if err := store.CheckName(r.Name); err != nil {
			return err
		}
		if id, err := e.store.Resolve(r.Name); err == nil {
			if other, err := e.store.Get(id); err == nil && other.Name == r.Name {
				return &fault.Error{Reason: fault.AlreadyExists, Op: "use name", Subject: r.Name,
					Cause: fmt.Errorf("container %s has it", store.ShortID(id)), Hint: "remove that one or choose another name"}
			}
		}
	}
	if r.CPUs == 0 {
		r.CPUs = d.CPUs
	}
	if r.CPUs == 0 {
		r.CPUs = DefaultCPUs
	}
	if r.MemoryBytes == 0 {
		r.MemoryBytes = uint64(d.Memory)
	}
	if r.MemoryBytes == 0 {
		r.MemoryBytes = DefaultMemoryBytes
	}
	if err := checkMemory(r.MemoryBytes); err != nil {
		return err
	}
	if r.Isolation.CPUSet != "" {
		if err := runtimespec.CheckCPUSet(r.Isolation.CPUSet, r.CPUs); err != nil {
			return err
		}
	}
	if r.StopSignal != "" {
		if _, err := signals.Number(r.StopSignal); err != nil {
			return err
		}
	}
	// What is wrong with it is wrong with any image.
	if _, err := runtimespec.Build(runtimespec.Input{ContainerID: "any", Args: []string{"any"}, MemoryBytes: r.MemoryBytes, Isolation: r.Isolation}); err != nil {
		return err
	}
	if err := r.checkMounts(); err != nil {
		return err
	}
	if err := checkIOLimits(r.IOLimits); err != nil {
		return err
	}
	if err := checkJournal(r.Journal, "make writable layer", r.Name); err != nil {
		return err
	}
	if r.Hostname != "" && !validHostname().MatchString(r.Hostname) {
		return &fault.Error{Reason: fault.Invalid, Op: "set host name", Subject: r.Hostname, Cause: errors.New("it is none"),
			Hint: "use up to 64 letters, digits, '-' and '.', the first a letter or digit"}
	}
	if err := checkRestart(r); err != nil {
		return err
	}
	if r.SeccompProfile != nil {
		if _, err := seccomp.Parse(r.SeccompProfile); err != nil {
			return err
		}
	}
	if err := e.checkLog(&r.Log); err != nil {
		return err
	}
	r.Network = firstNonEmpty(r.Network, d.Network, DefaultNetwork)
	if r.Network == NoNetwork {
		r.Network = ""
	} else if _, err := e.networkConfig(r.Network); err != nil {
		return err
	}
	r.Kernel = firstNonEmpty(r.Kernel, d.Kernel)
	r.Platform = firstNonEmpty(r.Platform, e.hostPlatform())
	if r.HypervisorOptions == nil {
		r.HypervisorOptions = d.HypervisorOptions
	}
	return nil
}

// validHostname is what Linux takes and /etc/hosts can have. Underscores are against the standard, and common.
var validHostname = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`) })

// MinMemoryBytes and MaxMemoryBytes are the least and the most a container may be given.
const (
	MinMemoryBytes = 32 << 20
	MaxMemoryBytes = 1 << 50
)

func checkMemory(bytes uint64) error {
	if bytes < MinMemoryBytes {
		return &fault.Error{Reason: fault.Invalid, Op: "set memory", Cause: fmt.Errorf("%d bytes are too little for a container", bytes),
			Hint: fmt.Sprintf("give at least %dm", MinMemoryBytes>>20)}
	}
	if bytes > MaxMemoryBytes {
		return &fault.Error{Reason: fault.Invalid, Op: "set memory", Cause: fmt.Errorf("%d bytes are more than any host has", bytes)}
	}
	return nil
}

// plan makes the records.
func (e *Engine) plan(r CreateRequest, image images.Image) (store.Container, store.Sandbox, *specs.Spec, error) {
	config := image.Config.Config
	args, err := runtimespec.Arguments(config, r.Entrypoint, r.Command)
	if err != nil {
		return store.Container{}, store.Sandbox{}, nil, err
	}
	mounts, err := r.resolveMounts(config)
	if err != nil {
		return store.Container{}, store.Sandbox{}, nil, err
	}
	disks, _, err := limitIO(nil, r.IOLimits, mounts)
	if err != nil {
		return store.Container{}, store.Sandbox{}, nil, err
	}
	id := store.NewID()
	hostname := firstNonEmpty(r.Hostname, store.ShortID(id))
	spec, err := runtimespec.Build(runtimespec.Input{ContainerID: id, Image: config, Args: args, Env: r.environment(), WorkingDir: r.WorkingDir,
		Hostname: hostname, Terminal: r.Terminal, ReadOnly: r.ReadOnly, CPUs: r.CPUs, MemoryBytes: r.MemoryBytes,
		Isolation: r.Isolation, Mounts: specMounts(mounts)})
	if err != nil {
		return store.Container{}, store.Sandbox{}, nil, err
	}
	initrd, err := e.Initrd(image.Manifest.Platform.Architecture)
	if err != nil {
		return store.Container{}, store.Sandbox{}, nil, err
	}
	check, err := healthCheck(r, image)
	if err != nil {
		return store.Container{}, store.Sandbox{}, nil, err
	}
	now := time.Now()
	c := store.Container{
		ID: id, Name: firstNonEmpty(r.Name, store.ShortID(id)), Created: now,
		Image: image.Name, Manifest: image.Manifest.Digest, Platform: r.Platform,
		Process: store.Process{Args: spec.Process.Args, Env: spec.Process.Env, WorkingDir: spec.Process.Cwd,
			User: firstNonEmpty(r.User, config.User), Terminal: r.Terminal, StdinOpen: r.StdinOpen, StopSignal: firstNonEmpty(r.StopSignal, config.StopSignal), StopSeconds: r.StopSeconds,
			Groups: r.Isolation.NamedGroups(), Init: r.Init},
		ReadOnly: r.ReadOnly, AutoRemove: r.AutoRemove, Hostname: hostname, Network: r.Network, Names: r.Names, Log: r.Log, Sockets: r.Sockets, SSH: r.SSH,
		Restart:   store.Restart{Policy: r.Restart},
		Health:    check,
		Resources: store.Resources{CPUs: r.CPUs, MemoryBytes: r.MemoryBytes, IO: disks},
		Mounts:    mounts,
		Journal:   r.Journal,
		Labels:    runtimespec.Labels(config.Labels, r.Labels),
		Plugins:   map[sdk.Kind]string{},
		Sandbox:   store.NewID(), Desired: store.DesiredStopped,
	}
	b := store.Sandbox{
		ID: c.Sandbox, Created: now, Containers: []string{id},
		Arch: image.Manifest.Platform.Architecture, CPUs: r.CPUs, MemoryBytes: vmMemory(r.MemoryBytes), RuntimeDir: e.store.Paths().SandboxRun(c.Sandbox),
		InitrdPath: initrd, HypervisorOptions: r.HypervisorOptions, Nested: r.Nested, Network: r.Network, Hostname: hostname,
	}
	return c, b, spec, nil
}

// make fills the records with what plugins give, and puts everything on the disk. What plugins do not need of each other they do side by side, and the supervisor's process is made
// meanwhile if it is needed next; it is returned, also beside an error.
func (e *Engine) make(ctx context.Context, r CreateRequest, c *store.Container, b *store.Sandbox, spec *specs.Spec, reserve *supervisor.Reserve, report progress.Func) (ready *supervisor.Prepared, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := e.store.CreateSandbox(ctx, *b); err != nil {
		return nil, err
	}
	if r.StartNext {
		end := timeline.Begin(ctx, "prepare supervisor", timeline.Create)
		if ready, err = supervisor.Prepare(ctx, e.store, e.options.Program, b.ID, e.log.IsDebug(), reserve); err != nil {
			e.log.Debug("cannot make the supervisor's process yet", "error", err) // the start will say
		}
		end()
	}
	var (
		wait        sync.WaitGroup
		mu          sync.Mutex
		errs        []error
		guestImage  kernel.Kernel
		disks       []rootfs.Disk
		layer       rootfs.Disk
		kernelKnown = make(chan struct{})
	)
	side := func(name string, f func() error) {
		wait.Go(func() {
			defer timeline.Begin(ctx, name, timeline.Create)()
			if err := f(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if len(errs) == 0 || !errors.Is(err, context.Canceled) {
					errs = append(errs, err)
				}
				cancel()
			}
		})
	}
	side("kernel provider", func() (err error) {
		if guestImage, err = e.ensureKernel(ctx, r.Kernel, b.Arch, r.Plugins[sdk.KernelProvider], report); err == nil {
			close(kernelKnown)
		}
		return err
	})
	side("rootfs", func() (err error) {
		disks, layer, err = e.rootfs(ctx, r, c, report)
		return err
	})
	side("system call profile", func() error {
		if !r.filtered() {
			return nil
		}
		select {
		case <-kernelKnown:
		case <-ctx.Done():
			return ctx.Err()
		}
		made, err := e.filter(r, seccomp.Subject{Capabilities: spec.Process.Capabilities.Bounding, Arch: b.Arch, Kernel: guestImage.Version})
		if err != nil {
			return err
		}
		c.Process.Filtered = true
		return e.writeFilter(made, c.ID)
	})
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return ready, err
	}
	if err := e.chooseTransport(ctx, c, b.Hypervisor); err != nil {
		return ready, err
	}
	if err := e.matchCapabilities(ctx, c, b, guestImage, len(disks)+1); err != nil {
		return ready, err
	}
	defer timeline.Begin(ctx, "write records", timeline.Create)()
	if err := store.WriteJSON(e.store.Paths().ContainerSpec(c.ID), spec, false); err != nil {
		return ready, err
	}
	b.Kernel = guestImage
	complete, update := e.store.CompleteSandbox, e.store.Update
	if r.StartNext && r.AutoRemove {
		complete, update = e.store.ReplaceSandbox, e.store.UpdateFleeting
	}
	if err := complete(ctx, *b); err != nil {
		return ready, err
	}
	updated, err := update(ctx, c.ID, func(record *store.Container) error {
		state := record.State
		*record = *c
		record.State, record.Disks, record.Layer = state, disks, layer
		record.Mapped = spec.Linux != nil && len(spec.Linux.UIDMappings) > 0
		return record.Advance(lifecycle.Made)
	})
	if err == nil {
		*c = updated
	}
	return ready, err
}

// rootfs gets the image's disks, from the cache if they were built before, and an empty layer.
func (e *Engine) rootfs(ctx context.Context, r CreateRequest, c *store.Container, report progress.Func) ([]rootfs.Disk, rootfs.Disk, error) {
	plugin, err := e.host.Find(ctx, sdk.RootfsBuilder, r.Plugins[sdk.RootfsBuilder])
	if err != nil {
		return nil, rootfs.Disk{}, err
	}
	b := rootfsBuilder{engine: e, plugin: plugin}
	defer b.close()
	paths := e.store.Paths()
	built, err := b.build(ctx, rootfs.BuildRequest{RequestID: "build " + c.ID, LayoutPath: paths.Images(), Manifest: c.Manifest, CacheDir: paths.Rootfs()}, report)
	if err != nil {
		return nil, rootfs.Disk{}, err
	}
	for _, warning := range built.Warnings {
		e.log.Warn("the root file system differs from the image", "image", c.Image, "warning", warning)
	}
	if err := e.ensureVolumes(ctx, c, &b); err != nil {
		return nil, rootfs.Disk{}, err
	}
	size := e.volumeBytes(r.StorageBytes)
	layer, err := b.layer(ctx, rootfs.WritableRequest{RequestID: "layer " + c.ID, Path: paths.SandboxLayer(c.Sandbox), SizeBytes: size, Purpose: rootfs.Layer})
	return built.Disks, layer, err
}
