package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/core/answers"
	"github.com/vzctl/vzctl/core/disk"
	"github.com/vzctl/vzctl/core/pluginhost"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/kernel"
	"github.com/vzctl/vzctl/sdk/progress"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// A plugin is a process, and what most starts ask has been asked before. So answers are kept, with the files that they depend on.

// question is one that a plugin's answer to may be kept.
type question struct {
	book    answers.Book
	text    []string
	plugin  []answers.File // as it was before it was asked
	asked   time.Time
	warning func(error)
}

func (e *Engine) question(plugin pluginhost.Plugin, what string, request any) (question, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return question{}, err
	}
	file, err := answers.Look(plugin.Path)
	return question{
		book: answers.Book{Dir: e.store.Paths().Answers()}, text: append([]string{what, string(text)}, e.host.Circumstances(plugin)...), plugin: file, asked: time.Now(),
		warning: func(err error) { e.log.Warn("cannot keep what a plugin answered", "plugin", plugin.Path, "error", err) },
	}, err
}

func (q question) known(answer any) bool { return q.book.Get(answer, q.text...) }

// keep an answer that depends on files. That it cannot be kept costs time later, and is no failure.
func (q question) keep(answer any, files []answers.File) {
	if err := q.book.Put(answer, append(files, q.plugin...), q.text...); err != nil {
		q.warning(err)
	}
}

// keepSettled keeps an answer that depends on files of others, who may have changed them meanwhile.
func (q question) keepSettled(answer any, paths ...string) {
	files, err := answers.Look(paths...)
	if err != nil {
		q.warning(err)
		return
	}
	if answers.Settled(files, q.asked) {
		q.keep(answer, files)
	}
}

// keepWith keeps an answer that depends on files that nobody changes.
func (q question) keepWith(answer any, paths ...string) {
	files, err := answers.Look(paths...)
	if err != nil {
		q.warning(err)
		return
	}
	q.keep(answer, files)
}

// pluginInfo returns what the plugin at path says of itself; fresh asks anyway.
func (e *Engine) pluginInfo(ctx context.Context, kind sdk.Kind, path string, fresh bool) (info sdk.Info, err error) {
	plugin, err := e.host.Find(ctx, kind, path)
	if err != nil {
		return sdk.Info{}, err
	}
	q, err := e.question(plugin, "info", kind)
	if err != nil || !fresh && q.known(&info) {
		return info, err
	}
	running, err := e.host.Start(ctx, kind, plugin.Path)
	if err != nil {
		return sdk.Info{}, err
	}
	defer e.closePlugin(running)
	q.keep(running.Info(), nil)
	return running.Info(), nil
}

// ensureKernel has the kernel provider give one kernel.
func (e *Engine) ensureKernel(ctx context.Context, reference, arch, choice string, report progress.Func) (k kernel.Kernel, err error) {
	plugin, err := e.host.Find(ctx, sdk.KernelProvider, choice)
	if err != nil {
		return kernel.Kernel{}, err
	}
	request := kernel.EnsureRequest{Arch: arch, Reference: absolute(reference), CacheDir: e.store.Paths().Kernels()}
	q, err := e.question(plugin, "kernel", request)
	if err != nil || q.known(&k) {
		return k, err
	}
	running, err := e.host.Start(ctx, sdk.KernelProvider, plugin.Path)
	if err != nil {
		return kernel.Kernel{}, err
	}
	defer e.closePlugin(running)
	k, err = kernel.NewClient(running.Conn(), running.Info()).Ensure(ctx, request, report)
	if err != nil {
		return kernel.Kernel{}, err
	}
	dependsOn := k.DependsOn
	k.DependsOn = nil
	if len(dependsOn) > 0 {
		q.keepSettled(k, append(dependsOn, k.Path)...)
	}
	return k, nil
}

// rootfsBuilder is a plugin that is started when it is first needed.
type rootfsBuilder struct {
	engine  *Engine
	plugin  pluginhost.Plugin
	running *pluginhost.Running
}

func (b *rootfsBuilder) client(ctx context.Context) (*rootfs.Client, error) {
	if b.running == nil {
		running, err := b.engine.host.Start(ctx, sdk.RootfsBuilder, b.plugin.Path)
		if err != nil {
			return nil, err
		}
		b.running = running
	}
	return rootfs.NewClient(b.running.Conn(), b.running.Info()), nil
}

func (b *rootfsBuilder) close() {
	if b.running != nil {
		b.engine.closePlugin(b.running)
	}
}

// build returns the disks of an image.
func (b *rootfsBuilder) build(ctx context.Context, request rootfs.BuildRequest, report progress.Func) (built rootfs.Built, err error) {
	asked := request
	asked.RequestID = ""
	q, err := b.engine.question(b.plugin, "disks", asked)
	if err != nil || q.known(&built) {
		return built, err
	}
	client, err := b.client(ctx)
	if err != nil {
		return rootfs.Built{}, err
	}
	built, err = client.Build(ctx, request, report)
	if err != nil {
		return rootfs.Built{}, err
	}
	if err := checkDisks(built.Disks, request.CacheDir); err != nil {
		return rootfs.Built{}, err
	}
	var paths []string
	for _, d := range built.Disks {
		paths = append(paths, d.Path)
	}
	q.keepWith(built, paths...)
	return built, nil
}

// layer makes an empty layer: a copy of one that was made before.
func (b *rootfsBuilder) layer(ctx context.Context, request rootfs.WritableRequest) (rootfs.Disk, error) {
	asked := request
	asked.RequestID, asked.Path = "", ""
	q, err := b.engine.question(b.plugin, "layer", asked)
	if err != nil {
		return rootfs.Disk{}, err
	}
	var made rootfs.Disk
	if q.known(&made) {
		if _, err := disk.CopyUnsynced(ctx, made.Path, request.Path); err == nil {
			made.Path = request.Path
			return made, nil
		} else if !errors.Is(err, fs.ErrNotExist) { // else another process is making it anew
			return rootfs.Disk{}, err
		}
	}
	client, err := b.client(ctx)
	if err != nil {
		return rootfs.Disk{}, err
	}
	made, err = client.CreateWritable(ctx, request)
	if err != nil {
		return rootfs.Disk{}, err
	}
	if err := checkDisks([]rootfs.Disk{made}, filepath.Dir(request.Path)); err != nil {
		return rootfs.Disk{}, err
	}
	if err := b.keepBlank(ctx, q, made); err != nil {
		b.engine.log.Warn("cannot keep an empty layer to copy", "error", err)
	}
	return made, nil
}

// keepBlank keeps a copy of an empty layer for later ones.
func (b *rootfsBuilder) keepBlank(ctx context.Context, q question, made rootfs.Disk) error {
	dir := b.engine.store.Paths().Blanks()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	name := filepath.Join(dir, digest.FromString(fmt.Sprint(q.text)).Encoded())
	staged := name + "." + store.NewID()
	if _, err := disk.Copy(ctx, made.Path, staged); err != nil {
		return err
	}
	if err := os.Rename(staged, name+".img"); err != nil {
		return errors.Join(err, os.Remove(staged))
	}
	made.Path = name + ".img"
	q.keepWith(made, made.Path)
	return nil
}
