package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/vzctl/vzctl/guest/vminitd/files"
	"github.com/vzctl/vzctl/guest/vminitd/userns"
	"github.com/vzctl/vzctl/sdk/fault"
)

// maxFileUses bounds how many use a container's files at once; each has buffers.
const maxFileUses = 16

// fileUses are those who use a container's files beside its processes. Its end waits for them, as it cannot unmount what they have open.
type fileUses struct {
	frozen sync.Mutex // held to freeze and thaw
	going  sync.WaitGroup
	cancel map[*context.CancelFunc]bool // guarded by the runtime's lock
}

// Files are the files of a container, until Close.
type Files struct {
	container *Container
	done      func()
}

// Files gives access to a container's files. The context that it returns ends when the container is to end, and with it the use must.
func (r *Runtime) Files(ctx context.Context, id string) (context.Context, *Files, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(id)
	if err != nil {
		return nil, nil, err
	}
	if len(c.fileUses.cancel) == maxFileUses {
		return nil, nil, &fault.Error{Reason: fault.InUse, Op: "use files of container", Subject: id, Cause: fmt.Errorf("%d others do", maxFileUses)}
	}
	ctx, cancel := context.WithCancel(ctx)
	if c.fileUses.cancel == nil {
		c.fileUses.cancel = map[*context.CancelFunc]bool{}
	}
	c.fileUses.cancel[&cancel] = true
	c.fileUses.going.Add(1)
	return ctx, &Files{c, sync.OnceFunc(func() {
		cancel()
		r.mu.Lock()
		delete(c.fileUses.cancel, &cancel)
		r.mu.Unlock()
		c.fileUses.going.Done()
	})}, nil
}

// Namespace is the user namespace whose ids the files are shown with, nil if it is the machine's.
func (f *Files) Namespace() *userns.Namespace { return f.container.userns }

// Close ends the use.
func (f *Files) Close() { f.done() }

// View is the container's root: with all that is mounted in it while its first process runs, and without before and afterwards, or if that is asked for.
func (f *Files) View(rootOnly bool) (files.View, error) {
	c := f.container
	child := c.init.running()
	if rootOnly || child == nil {
		return files.Open(c.root.Path)
	}
	view, err := files.Open(filepath.Join("/proc", strconv.Itoa(child.Pid), "root"))
	if err == nil && c.init.running() != child { // its number may be another's by now
		err = errors.Join(os.ErrProcessDone, view.Close())
	}
	if err != nil {
		err = errors.Join(err, &fault.Error{Reason: fault.FailedPrecondition, Op: "use files of container", Subject: c.id, Cause: errors.New("it has just ended")})
	}
	return view, err
}

// Layers are what the root is laid of.
func (f *Files) Layers() files.Layers {
	c := f.container
	layers := files.Layers{Merged: c.root.Path, Upper: c.root.Upper(), Placeholders: map[string]bool{}}
	layers.Lower = c.root.Lower
	layers.IDs = c.userns.IDs()
	for _, path := range []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"} {
		layers.Placeholders[path] = true
	}
	for _, m := range c.spec.Mounts {
		layers.Placeholders[filepath.Clean(m.Destination)] = true
	}
	for path := range layers.Placeholders {
		for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
			layers.Placeholders[dir] = true
		}
	}
	return layers
}

func (c *Container) upper() string { return c.root.Top }

// Freeze has who writes to the container's own file system wait, and writes all out.
func (f *Files) Freeze() error {
	f.container.fileUses.frozen.Lock()
	defer f.container.fileUses.frozen.Unlock()
	return files.Freeze(f.container.upper())
}

// Thaw ends Freeze.
func (f *Files) Thaw() error {
	f.container.fileUses.frozen.Lock()
	defer f.container.fileUses.frozen.Unlock()
	return files.Thaw(f.container.upper())
}

// Trim gives blocks back, of the container's own file system and of the volumes that it writes to.
func (f *Files) Trim() error {
	for _, dir := range append([]string{f.container.upper()}, f.container.sources.Written()...) {
		if err := files.Trim(dir); err != nil {
			return err
		}
	}
	return nil
}

// thawFiles lets those go on who wait for a frozen file system: not even SIGKILL ends them.
func (c *Container) thawFiles() error {
	if c.root == nil {
		return nil
	}
	c.fileUses.frozen.Lock()
	defer c.fileUses.frozen.Unlock()
	if err := files.Thaw(c.upper()); err != nil && !errors.Is(err, files.ErrNotFrozen) {
		return err
	}
	return nil
}

// endFileUses ends all uses of the container's files, and waits for that. No new one begins, as the container is being deleted.
func (c *Container) endFileUses() {
	c.runtime.mu.Lock()
	for cancel := range c.fileUses.cancel {
		(*cancel)()
	}
	c.runtime.mu.Unlock()
	c.fileUses.going.Wait()
}
