package engine

import (
	"context"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/store"
)

// List returns all containers, from their records alone.
func (e *Engine) List(context.Context) ([]Container, error) {
	entries, err := e.store.List()
	if err != nil {
		return nil, err
	}
	all := make([]Container, 0, len(entries))
	for _, entry := range entries {
		if entry.Err != nil {
			all = append(all, Container{ID: entry.ID, State: "broken", Message: entry.Err.Error()})
			continue
		}
		all = append(all, e.view(entry.Container))
	}
	return all, nil
}

// Inspect returns one container with what its sandbox's record adds.
func (e *Engine) Inspect(_ context.Context, ref string) (Container, error) {
	c, err := e.store.Find(ref)
	if err != nil {
		return Container{}, err
	}
	v := e.view(c)
	if b, err := e.store.GetSandbox(c.Sandbox); err == nil {
		v.Kernel = b.Kernel.Path
	}
	return v, nil
}

func (e *Engine) view(c store.Container) Container {
	paths := e.store.Paths()
	v := Container{
		ID: c.ID, Name: c.Name, Image: c.Image, Manifest: c.Manifest, Platform: c.Platform, State: string(c.State),
		Created: c.Created, Labels: c.Labels, Network: c.Network, Hostname: c.Hostname,
		Sockets: c.Sockets, SSH: c.SSH,
		Args: c.Process.Args, Env: c.Process.Env, WorkingDir: c.Process.WorkingDir, User: c.Process.User, Terminal: c.Process.Terminal,
		ReadOnly: c.ReadOnly, AutoRemove: c.AutoRemove, Mounts: mountViews(c.Mounts), CPUs: c.Resources.CPUs, MemoryBytes: c.Resources.MemoryBytes,
		IOLimits: c.Resources.IO, Journal: c.Journal,
		Sandbox: c.Sandbox, LogPath: paths.ContainerLog(c.ID), LogMaxBytes: c.Log.MaxBytes, LogMaxFiles: c.Log.MaxFiles, ConsolePath: paths.SandboxConsole(c.Sandbox),
	}
	for kind, plugin := range c.Plugins {
		if v.Plugins == nil {
			v.Plugins = map[string]string{}
		}
		v.Plugins[string(kind)] = plugin
	}
	if c.Exit != nil && (!c.State.Active() || c.State == lifecycle.Restarting) {
		code := c.Exit.Code
		v.ExitCode, v.Reason, v.Message = &code, string(c.Exit.Reason), c.Exit.Message
		v.Finished = when(c.Exit.Time)
		if c.Exit.Reason == lifecycle.ReasonCheckpointed {
			v.ExitCode = nil // its process has not ended
		}
	}
	v.Health = e.health(c)
	v.RestartPolicy, v.RestartCount = c.Restart.Policy, c.Restart.Count
	if saved := c.Checkpoint; saved != nil {
		v.Checkpoint = &Checkpoint{Made: saved.Made, SizeBytes: saved.SizeBytes, Layer: saved.Layer}
	}
	if c.Run != nil {
		v.Asked, v.Started, v.Accelerator, v.Cloned = when(c.Run.Asked), when(c.Run.Started), c.Run.Accelerator, c.Run.Cloned
		for _, p := range c.Run.Timeline {
			v.Timeline = append(v.Timeline, Phase(p))
		}
		if c.State.Active() {
			v.PID, v.Addresses = c.Run.PID, c.Run.Addresses
			if u := c.Run.Unresponsive; u != nil {
				v.Unresponsive = &Unresponsive{u.Since, u.Message}
			}
		}
	}
	return v
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// exitOf returns how a stopped container ended.
func exitOf(c store.Container) Exit {
	if c.Exit == nil {
		return Exit{}
	}
	return Exit{Code: c.Exit.Code, Signal: c.Exit.Signal, Reason: string(c.Exit.Reason), Time: c.Exit.Time, Message: c.Exit.Message}
}

// refuse returns why an event is not allowed now, or nil.
func refuse(c store.Container, event lifecycle.Event) error { return c.Advance(event) }
