package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/machine"
	"github.com/vzctl/vzctl/plugins/qemu-hypervisor/template"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

// A VM of a shape that has a template is a clone of it. One that has none makes the template first, and then is a clone as well; only if that fails it
// boots. What is saved is a VM of placeholders whose guest waits for its host, so there is nothing of any container in it.

// makeDeadline bounds the boot of a template's VM. A boot without a template is bounded by the caller.
const makeDeadline = 40 * time.Second

// digestDelay keeps the digest of a new template out of the way of the start that it was made for. A VM that ends sooner leaves it to the first Verify.
const digestDelay = 5 * time.Second

// canClone says whether the VM may be cloned, and QEMU can map memory from a file and knows the state of all devices.
func canClone(spec hypervisor.Spec, host machine.Host) bool {
	return spec.CacheDir != "" && host.OS == "linux" && spec.Options[machine.OptionTemplates] != "off" && !machine.ByVirtioFS(spec)
}

func (v *VM) templates() template.Store {
	return templatesOf(v.spec.CacheDir)
}

func templatesOf(cacheDir string) template.Store {
	return template.At(filepath.Join(cacheDir, "templates"))
}

// templateKey names the template of the VM's shape.
func (v *VM) templateKey() (string, error) {
	shape := machine.Shape(v.spec, v.host)
	if v.host.Accelerator != machine.TCG {
		cpu, err := hostCPU("/proc/cpuinfo")
		if err != nil {
			return "", err
		}
		shape = append(shape, cpu...)
	}
	return template.Key(shape, v.files()...)
}

// files are those that a machine is made of besides its disks.
func (v *VM) files() []string {
	files := []string{v.binary, v.spec.Kernel.Path}
	if v.spec.InitrdPath != "" {
		files = append(files, v.spec.InitrdPath)
	}
	return files
}

// template returns a template, and makes it if there is none; if another VM is making it, it waits for that. Without one, and without an error, the
// other has failed. was says that it was there before.
func (v *VM) template(ctx context.Context, key string) (t *template.Template, was bool, err error) {
	t, err = v.templates().Open(key)
	if err == nil {
		return t, true, nil
	}
	t, err = v.madeTemplate(ctx, key, err)
	return t, false, err
}

// madeTemplate makes a template, as it could not be opened.
func (v *VM) madeTemplate(ctx context.Context, key string, err error) (*template.Template, error) {
	store := v.templates()
	switch {
	case errors.Is(err, template.ErrDamaged):
		v.log.Warn("a template is not used and made anew", "template", key, "error", err)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	draft, busy, err := store.Draft(key, int64(v.spec.MemoryBytes))
	if busy {
		return v.awaited(ctx, store, key)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := draft.Discard(); err != nil {
			v.log.Warn("cannot clean up after making a template", "error", err)
		}
	}()
	if t, err := store.Open(key); err == nil { // it was made while we asked
		return t, nil
	}
	if err := v.make(ctx, draft); err != nil {
		return nil, err
	}
	go func() { // its loss is noticed
		size, unused, _ := machine.TemplateLimits(v.spec.Options) // which were checked
		err := errors.Join(store.Sync(key), store.Prune(template.Limits{Size: size, Unused: unused}, key))
		if err == nil {
			<-time.After(digestDelay)
			err = store.Digest(context.Background(), key)
		}
		if err != nil {
			v.log.Debug("cannot keep templates", "template", key, "error", err)
		}
	}()
	return store.Open(key)
}

// awaited returns a template that another VM is making. Many VMs that boot at once would take each other's time for nothing.
func (v *VM) awaited(ctx context.Context, store template.Store, key string) (*template.Template, error) {
	if err := store.Await(ctx, key); err != nil {
		return nil, err
	}
	t, err := store.Open(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // and the next would fail as well
	}
	return t, err
}

// make boots a VM of the same shape and saves it.
func (v *VM) make(ctx context.Context, draft *template.Draft) (err error) {
	ctx, cancel := context.WithTimeout(ctx, makeDeadline)
	defer cancel()
	spec := machine.Template(v.spec, draft.Dir)
	defer func() {
		for _, path := range ownSockets(spec) {
			err = errors.Join(err, removeSocket(path))
		}
	}()
	sizes, err := v.placeholders(spec)
	if err != nil {
		return err
	}
	for _, share := range spec.Shares {
		if err := os.Mkdir(share.Path, 0o700); err != nil {
			return err
		}
	}
	p, monitor, err := spawn(spec, v.binary, v.host, birth{memory: draft.Memory, shared: true})
	if err != nil {
		return err
	}
	if err := p.greet(ctx, monitor); err != nil {
		return p.noSpace(draft, err)
	}
	err = p.save(ctx, draft.State)
	disks, unknown := diskDescriptors(p.pid, spec)
	if err == nil && unknown != nil {
		v.log.Warn("clones of a template will give no blocks of their disks back", "error", unknown)
	}
	p.kill() // its disks are placeholders
	if exit := p.wait(); err != nil {
		return p.noSpace(draft, fmt.Errorf("%w (%s)", err, exit.Message))
	}
	var said []byte
	if p.console != nil {
		said = p.console.tail.bytes
	}
	return draft.Commit(template.About{Description: machine.Description(spec, v.host), Console: said, Disks: disks, Sizes: sizes})
}

// placeholders makes the disks of a template, and returns their sizes in bytes. Those that can be written have the size of the VM's own: most VMs of a shape
// have disks of one size, and a clone's guest need not hear of another then.
func (v *VM) placeholders(of hypervisor.Spec) (sizes []int64, err error) {
	for i, disk := range of.Disks {
		size := int64(machine.PlaceholderSize)
		if !disk.ReadOnly {
			info, err := os.Stat(v.spec.Disks[i].File.Path)
			if err != nil {
				return nil, err
			}
			size = min(size, info.Size())
		}
		if err := placeholder(disk.File.Path, size); err != nil {
			return nil, err
		}
		sizes = append(sizes, size)
	}
	return sizes, nil
}

// noSpace tells what QEMU cannot: a page of memory that has no room in its file is a bus error to who writes it.
func (p *process) noSpace(draft *template.Draft, err error) error {
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGBUS {
		return fmt.Errorf("the memory of a template cannot be kept below %s: %w", filepath.Dir(draft.Dir), syscall.ENOSPC)
	}
	return err
}

func placeholder(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Truncate(size), file.Close())
}

// rest waits until the guest waits for its host, and stops it.
func (p *process) rest(ctx context.Context) error {
	select {
	case <-p.portOpened:
	case <-p.exited:
		return errors.New("the guest ended while booting")
	case <-ctx.Done():
		return fmt.Errorf("the guest does not wait for its host: %w", ctx.Err())
	}
	return p.monitor.Execute(ctx, "stop", nil, nil)
}

// save writes the state of the devices of a VM that is at rest. Memory is in its file already.
func (p *process) save(ctx context.Context, state *os.File) error {
	if err := p.rest(ctx); err != nil {
		return err
	}
	return p.writeState(ctx, state, devices)
}

// resume has a QEMU that waits for it take the state of a template, and lets the guest go on with its own disks.
func (p *process) resume(ctx context.Context, spec hypervisor.Spec, from birth) error {
	if err := p.readState(ctx, from.state, devices); err != nil {
		return err
	}
	return p.goOnWith(ctx, spec, from.sizes)
}

// goOnWith lets the guest go on with its own disks. sizes are those that it knows, in bytes.
func (p *process) goOnWith(ctx context.Context, spec hypervisor.Spec, sizes []int64) error {
	for i, disk := range spec.Disks {
		if disk.ReadOnly {
			continue // see machine.Template
		}
		info, err := os.Stat(disk.File.Path)
		if err != nil {
			return err
		}
		if i < len(sizes) && info.Size() == sizes[i] {
			continue
		}
		size := map[string]any{"node-name": machine.DiskNode(i), "size": info.Size()}
		if err := p.monitor.Execute(ctx, "block_resize", size, nil); err != nil { // the size is right, but the guest does not know it
			return err
		}
	}
	return p.monitor.Execute(ctx, "cont", nil, nil)
}

// aliveWithin is far longer than a clone takes to answer.
const aliveWithin = 10 * time.Second

// doubt removes the template of a clone whose guest never came to life: the disk may have lost what was in it, and every later start would fail as well. Who stops a
// clone at once proves nothing.
func (v *VM) doubt(p *process, exit hypervisor.Exit) {
	if p.template == "" && p.shape == "" || v.uplink.Reached() || exit.Reason == hypervisor.ByRequest && exit.Time.Sub(p.begun) < aliveWithin {
		return
	}
	if p.shape != "" {
		v.log.Warn("a VM that stands by is ended, as a guest that was forked from it does not come to life", "exit", exit.Message)
		place := standbyOf(v.spec.CacheDir)
		if !p.primed { // otherwise it may be the image's fault
			place.Note(errors.New("a guest that was forked does not come to life"))
		}
		if err := gone(place.Remove(p.shape)); err != nil {
			v.log.Warn("cannot end a VM that stands by", "error", err)
		}
		return
	}
	v.log.Warn("a template of which no guest comes to life is removed", "template", p.template, "exit", exit.Message)
	if err := gone(v.templates().Remove(p.template)); err != nil {
		v.log.Warn("cannot remove a template", "template", p.template, "error", err)
	}
}

// gone takes it as done that there is nothing to remove.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
