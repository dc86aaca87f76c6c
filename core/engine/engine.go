package engine

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/config"
	"github.com/vzctl/vzctl/core/events"
	"github.com/vzctl/vzctl/core/images"
	"github.com/vzctl/vzctl/core/pluginhost"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Engine implements API.
type Engine struct {
	options Options
	config  *config.Config
	store   *store.Store
	images  *images.Store
	host    *pluginhost.Host
	log     hclog.Logger

	mu       sync.Mutex
	prepared map[string]*prepared // by container
}

var _ API = (*Engine)(nil)

// What a container gets if neither the user nor the configuration says otherwise.
const (
	DefaultCPUs        = 1
	DefaultMemoryBytes = 512 << 20
	DefaultDiskBytes   = 16 << 30 // of the writable layer, which is sparse
	DefaultNetwork     = "default"
	NoNetwork          = "none"
)

// Open returns an engine on a root, which is made if it is missing. See Close.
func Open(_ context.Context, options Options) (*Engine, error) {
	if options.Log == nil {
		options.Log = hclog.NewNullLogger()
	}
	if options.Config == nil {
		loaded, err := config.Load()
		if err != nil {
			return nil, err
		}
		options.Config = loaded
	}
	if err := complete(&options); err != nil {
		return nil, err
	}
	st, err := store.Open(options.Root)
	if err != nil {
		return nil, err
	}
	imageStore, err := images.Open(st.Paths().Images())
	if err != nil {
		return nil, err
	}
	run, err := st.MakeRun()
	if err != nil {
		return nil, err
	}
	host := pluginhost.New(pluginhost.Options{BuiltinDir: options.PluginsDir, Plugins: options.Config.Plugins, RuntimeDir: run, Log: options.Log})
	return &Engine{options: options, config: options.Config, store: st, images: imageStore, host: host, log: options.Log}, nil
}

// complete fills in what was left open.
func complete(o *Options) error {
	if o.Root == "" {
		o.Root = o.Config.Root
	}
	if o.Root == "" {
		root, err := store.DefaultRoot()
		if err != nil {
			return err
		}
		o.Root = root
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return err
	}
	o.Root = root
	if len(o.Program) == 0 {
		executable, err := os.Executable()
		if err != nil {
			return err
		}
		o.Program = []string{executable}
	}
	if o.PluginsDir == "" {
		if o.PluginsDir, err = pluginhost.BuiltinDir(o.Program[0]); err != nil {
			return &fault.Error{Reason: fault.NotFound, Op: "find program", Subject: o.Program[0], Cause: err}
		}
	}
	if o.InitrdPath == "" {
		o.InitrdPath = filepath.Join(filepath.Dir(o.PluginsDir), "initrd.cpio")
	}
	return nil
}

// tell adds to the event log; that it cannot is no failure of the verb.
func (e *Engine) tell(ctx context.Context, event events.Event) {
	log := events.Log{Path: e.store.Paths().Events()}
	if err := log.Append(context.WithoutCancel(ctx), event); err != nil {
		e.log.Warn("cannot add to the event log", "error", err)
	}
}

// aboutContainer is an event of a container, which may not be on record any more.
func aboutContainer(action string, c store.Container) events.Event {
	event := events.Event{Type: "container", Action: action, ID: c.ID, Name: c.Name}
	if c.Image != "" {
		event.Attributes = map[string]string{"image": c.Image}
	}
	return event
}

// hostPlatform is what images are chosen for if nobody says otherwise: guests are Linux, whatever the host.
func (e *Engine) hostPlatform() string {
	if e.config.Defaults.Platform != "" {
		return e.config.Defaults.Platform
	}
	return "linux/" + runtime.GOARCH
}

func firstNonEmpty(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
