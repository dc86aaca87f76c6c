// Package pluginhost finds plugins, decides which one serves a kind, and starts it. What a started plugin says and how it dies is the business
// of sdk/launch; which capability is needed that of package capability.
//
// Read host.go first; discover.go is about files.
package pluginhost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/config"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/launch"
)

// Options of New.
type Options struct {
	// BuiltinDir is searched before the configured directories; see [BuiltinDir].
	BuiltinDir string
	// Plugins as config.toml has them.
	Plugins config.Plugins
	// RuntimeDir is an owner-only directory for the sockets and temporary files of what is started.
	RuntimeDir string
	Log        hclog.Logger
}

// Host starts plugins. It holds none: who starts one closes it. Safe for concurrent use.
type Host struct {
	options Options
	goos    string
	sums    launch.MemorySums
}

// New returns a host.
func New(options Options) *Host {
	if options.Log == nil {
		options.Log = hclog.NewNullLogger()
	}
	return &Host{options: options, goos: runtime.GOOS}
}

// Running is a plugin that was started. Close it.
type Running struct {
	Plugin
	*launch.Process
}

// Choice returns which plugin serves a kind, by name or path: the first choice that is not empty (the flag's, then the container's), else
// the configuration's, else the platform's default; "" if the kind has none.
func (h *Host) Choice(kind sdk.Kind, choices ...string) string {
	for _, c := range append(choices, h.options.Plugins.Use[kind]) {
		if c != "" {
			return c
		}
	}
	return platformDefault(h.goos, kind)
}

func platformDefault(goos string, kind sdk.Kind) string {
	switch kind {
	case sdk.Hypervisor:
		if goos == "darwin" {
			return "vz-hypervisor"
		}
		return "qemu-hypervisor"
	case sdk.ImageSource:
		return "oci-registry"
	case sdk.RootfsBuilder:
		return "ext4-builder"
	case sdk.Network:
		return "user-network"
	case sdk.KernelProvider:
		return "kernel-local"
	}
	return "" // no translator unless one is asked for
}

// Start starts the plugin of a kind; an empty choice stands for [Host.Choice]. The error names plugins there are, if it is not there.
func (h *Host) Start(ctx context.Context, kind sdk.Kind, choice string) (*Running, error) {
	plugin, err := h.Find(ctx, kind, choice)
	if err != nil {
		return nil, err
	}
	process, err := h.launch(ctx, plugin, kind)
	if err != nil {
		return nil, err
	}
	return &Running{plugin, process}, nil
}

// Find returns the plugin that Start would start. It starts others only to tell which there are, for its error.
func (h *Host) Find(ctx context.Context, kind sdk.Kind, choice string) (Plugin, error) {
	if choice = h.Choice(kind, choice); choice == "" {
		return Plugin{}, &fault.Error{Reason: fault.FailedPrecondition, Op: fmt.Sprintf("start %s plugin", kind),
			Cause: errors.New("none is chosen"), Hint: fmt.Sprintf("name one with --%s or in config.toml under [plugins.use]", kind)}
	}
	if strings.ContainsRune(choice, filepath.Separator) {
		plugin, err := at(choice)
		if err == nil {
			err = plugin.Err
		}
		return plugin, err
	}
	all, err := Discover(h.dirs())
	if err != nil {
		return Plugin{}, err
	}
	for _, p := range all {
		if p.Name == choice {
			return p, p.Err
		}
	}
	return Plugin{}, h.unknown(ctx, kind, choice)
}

func (h *Host) unknown(ctx context.Context, kind sdk.Kind, choice string) error {
	listed, err := h.List(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, l := range listed {
		if l.Info != nil && l.Info.Kind == kind {
			names = append(names, l.Name)
		}
	}
	hint := fmt.Sprintf("there are %s", strings.Join(names, ", "))
	switch len(names) {
	case 0:
		hint = fmt.Sprintf("there are none of this kind in %s", strings.Join(h.dirs(), ", "))
	case 1:
		hint = "there is " + names[0]
	}
	return &fault.Error{Reason: fault.NotFound, Op: fmt.Sprintf("start %s plugin", kind), Subject: choice,
		Cause: errors.New("there is no such plugin"), Hint: hint}
}

// Listed is a plugin and what it said of itself. Without Info, Err of the Plugin says why.
type Listed struct {
	Plugin
	Info *sdk.Info
	// Selected reports whether it serves its kind if nobody chooses another.
	Selected bool
}

// List starts every plugin there is and asks what it is. Broken ones are listed with their error.
func (h *Host) List(ctx context.Context) ([]Listed, error) {
	plugins, err := Discover(h.dirs())
	if err != nil {
		return nil, err
	}
	all := make([]Listed, len(plugins))
	slots := make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	var asked sync.WaitGroup
	for i, p := range plugins {
		asked.Go(func() {
			slots <- struct{}{}
			all[i] = h.inspect(ctx, p)
			<-slots
		})
	}
	asked.Wait()
	return all, ctx.Err()
}

// Inspect starts one plugin, by name or path and of whatever kind, and asks what it is.
func (h *Host) Inspect(ctx context.Context, choice string) (Listed, error) {
	if strings.ContainsRune(choice, filepath.Separator) {
		plugin, err := at(choice)
		if err != nil {
			return Listed{Plugin: plugin}, err
		}
		listed := h.inspect(ctx, plugin)
		return listed, listed.Err
	}
	plugins, err := Discover(h.dirs())
	if err != nil {
		return Listed{}, err
	}
	for _, p := range plugins {
		if p.Name == choice {
			listed := h.inspect(ctx, p)
			return listed, listed.Err
		}
	}
	return Listed{}, &fault.Error{Reason: fault.NotFound, Op: "inspect plugin", Subject: choice,
		Cause: errors.New("there is no such plugin"), Hint: "vzctl plugin ls shows all"}
}

// inspectTime is how long a plugin may take to say what it is. It takes 4 ms. A start that takes too long says so itself, before this ends.
const inspectTime = launch.DefaultStartTimeout + 5*time.Second

func (h *Host) inspect(ctx context.Context, p Plugin) Listed {
	listed := Listed{Plugin: p}
	if p.Err != nil {
		return listed
	}
	ctx, cancel := context.WithTimeout(ctx, inspectTime)
	defer cancel()
	process, err := h.launch(ctx, p, "")
	if err != nil {
		listed.Err = err
		return listed
	}
	info := process.Info()
	listed.Info = &info
	choice := h.Choice(info.Kind)
	listed.Selected = choice == p.Name || choice == p.Path
	if err := process.Close(ctx); err != nil {
		h.options.Log.Warn("plugin did not end well", "plugin", p.Path, "error", err)
	}
	return listed
}

// launch a plugin; of any kind if kind is empty.
func (h *Host) launch(ctx context.Context, p Plugin, kind sdk.Kind) (*launch.Process, error) {
	return launch.Start(ctx, launch.Options{Path: p.Path, Kind: kind, RuntimeDir: h.options.RuntimeDir, SHA256: h.pin(p), Sums: &h.sums,
		Log: h.options.Log, Env: addressed(os.Environ())})
}

// pin is the digest that a plugin's file must have, if there is one.
func (h *Host) pin(p Plugin) string {
	return cmp.Or(h.options.Plugins.SHA256[p.Path], h.options.Plugins.SHA256[p.Name])
}

// Circumstances are what a plugin's answers may depend on besides the question, its own file, and what it finds on this machine.
func (h *Host) Circumstances(p Plugin) []string {
	env := addressed(os.Environ())
	slices.Sort(env)
	return append([]string{p.Path, h.pin(p)}, env...)
}

// addressed returns the variables that are meant for vzctl and its plugins by their name. Others do not reach a plugin.
func addressed(environ []string) []string {
	var env []string
	for _, e := range environ {
		if strings.HasPrefix(e, "VZCTL_") {
			env = append(env, e)
		}
	}
	return env
}

// dirs in the order in which they are searched.
func (h *Host) dirs() []string {
	var dirs []string
	if h.options.BuiltinDir != "" {
		dirs = append(dirs, h.options.BuiltinDir)
	}
	return append(append(dirs, h.options.Plugins.Dirs...), h.options.Plugins.Path...)
}
