package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/netd"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/core/supervisor"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
	"github.com/vzctl/vzctl/sdk/progress"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// WarmTemplate has the hypervisor plugin make, unless it has it, the template for containers that such a request would make; of the request only what shapes a VM
// counts. A VM is started as for a container, on its network, and taken down before its guest is told anything. The template is on the disk when
// it returns, and has its digest.
func (e *Engine) WarmTemplate(ctx context.Context, request CreateRequest, report progress.Func) (hypervisor.Template, error) {
	b, err := e.shape(ctx, request, report)
	if err != nil {
		return hypervisor.Template{}, err
	}
	begun := time.Now()
	vm, err := e.warm(ctx, b)
	if err != nil {
		return hypervisor.Template{}, err
	}
	failed := &fault.Error{Reason: fault.Unavailable, Op: "make a template", Cause: errors.New("the hypervisor plugin has booted the VM instead"),
		Hint: "vzctl --debug system template warm says why"}
	if !vm.Cloned {
		return hypervisor.Template{}, failed
	}
	var warmed hypervisor.Template
	err = e.withTemplates(ctx, b.Hypervisor, func(client *hypervisor.Client, cache string) error {
		list, err := client.Templates(ctx, cache)
		if err != nil {
			return err
		}
		for _, t := range list {
			if t.Used.Before(begun) || t.Damaged {
				continue
			}
			// Somebody else's start may have used another meanwhile; that is kept as well.
			verified, err := client.VerifyTemplate(ctx, cache, t.ID)
			if err != nil {
				return err
			}
			if verified.Damage == "" && (warmed.ID == "" || t.Made.After(warmed.Made)) {
				warmed = t
			}
		}
		if warmed.ID == "" {
			return failed
		}
		return nil
	})
	return warmed, err
}

// shape is the record of a sandbox as a request would make it, without a container.
func (e *Engine) shape(ctx context.Context, r CreateRequest, report progress.Func) (store.Sandbox, error) {
	if err := e.check(&r); err != nil {
		return store.Sandbox{}, err
	}
	arch, err := archOf(r.Platform)
	if err != nil {
		return store.Sandbox{}, err
	}
	initrd, err := e.Initrd(arch)
	if err != nil {
		return store.Sandbox{}, err
	}
	guest, err := e.ensureKernel(ctx, r.Kernel, arch, r.Plugins[sdk.KernelProvider], report)
	if err != nil {
		return store.Sandbox{}, err
	}
	c := store.Container{Plugins: map[sdk.Kind]string{}}
	b := store.Sandbox{ID: warmID, Arch: arch, CPUs: r.CPUs, MemoryBytes: vmMemory(r.MemoryBytes), Kernel: guest, InitrdPath: initrd,
		HypervisorOptions: r.HypervisorOptions, Network: r.Network}
	if err := e.choosePlugins(ctx, r, &c, &b); err != nil {
		return store.Sandbox{}, err
	}
	if err := e.matchCapabilities(ctx, &c, &b, guest, len(warmDisks)); err != nil {
		return store.Sandbox{}, err
	}
	info, err := e.pluginInfo(ctx, sdk.Hypervisor, b.Hypervisor, false)
	if err != nil {
		return store.Sandbox{}, err
	}
	if !info.Offers(hypervisor.CapabilityFeature, hypervisor.FeatureTemplate) {
		return store.Sandbox{}, &fault.Error{Reason: fault.Unsupported, Op: "make a template", Subject: info.Name, Cause: errors.New("the hypervisor plugin keeps none")}
	}
	return b, nil
}

// warmDisks are those of a container: the disk of its image, of which the rootfs builder makes one, and its layer. What is on them nobody looks at.
var warmDisks = [...]string{"image", "layer"}

const warmDiskBytes = 1 << 20

// warmID is the sandbox of all templates that are made ahead, one after the other: what a killed command has left, the next finds.
const warmID = "warm"

// warm starts the VM and takes it down. All that is made for it is in a runtime directory, which goes with it.
func (e *Engine) warm(ctx context.Context, b store.Sandbox) (vm hypervisor.VM, err error) {
	held, err := lock.Acquire(ctx, e.store.Paths().WarmLock())
	if err != nil {
		return hypervisor.VM{}, err
	}
	defer held.Close()
	if err := os.RemoveAll(e.store.Paths().SandboxRun(b.ID)); err != nil {
		return hypervisor.VM{}, err
	}
	run, err := e.store.MakeSandboxRun(b.ID)
	if err != nil {
		return hypervisor.VM{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(run)) }()
	spec := sandbox.Spec{ID: b.ID, Arch: b.Arch, CPUs: b.CPUs, MemoryBytes: b.MemoryBytes, Kernel: b.Kernel, InitrdPath: b.InitrdPath, Network: b.Network,
		ConsolePath: filepath.Join(run, "console.log"), RuntimeDir: run, StateDir: filepath.Join(run, "vm"),
		CacheDir: e.store.Paths().Cache(filepath.Base(b.Hypervisor)), HypervisorOptions: b.HypervisorOptions}
	for _, dir := range []string{spec.StateDir, spec.CacheDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return hypervisor.VM{}, err
		}
	}
	var disks [len(warmDisks)]rootfs.Disk
	for i, name := range warmDisks {
		disks[i] = rootfs.Disk{Path: filepath.Join(run, name), ReadOnly: i == 0}
		if err := errors.Join(os.WriteFile(disks[i].Path, nil, 0o600), os.Truncate(disks[i].Path, warmDiskBytes)); err != nil {
			return hypervisor.VM{}, err
		}
	}
	spec.Lower, spec.Layer = disks[:1], &disks[1]
	if b.Network != "" {
		if err := e.prepareNetwork(ctx, b); err != nil {
			return hypervisor.VM{}, err
		}
	}
	return sandbox.Warm(ctx, spec, sandbox.Environment{
		StartHypervisor: func(ctx context.Context) (sandbox.Hypervisor, error) {
			running, err := e.host.Start(ctx, sdk.Hypervisor, b.Hypervisor)
			if err != nil {
				return nil, err
			}
			return supervisor.Hypervisor(running), nil
		},
		Attach: func(ctx context.Context, request network.AttachRequest) (sandbox.Lease, error) {
			return supervisor.Attach(ctx, &netd.Client{Store: e.store, Program: e.options.Program, Log: e.log.Named("network")}, request, nil)
		},
		Logger: e.log,
	})
}
