package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/progress"
)

// fake is an engine of the functions a test cares for. It notes every call, and what it is not told to do it does by doing nothing.
type fake struct {
	engine.API // panics on what no test expects

	mu    sync.Mutex
	calls []string

	createRequest engine.CreateRequest
	execRequest   engine.ExecRequest
	updateRequest engine.UpdateRequest
	create        func(ctx context.Context, report progress.Func) error
	run           func(ctx context.Context, streams engine.Streams, started func()) (engine.Exit, error)
	kill          func(signal string) error
	filesErr      error           // of what is about files
	missing       map[string]bool // refs that are not found
	containers    []engine.Container
	images        []engine.Image
	checks        []engine.Check
	plugins       []engine.PluginView
	templates     []hypervisor.Template
	verified      []engine.VerifiedTemplate
	timeline      []engine.Phase
	terminal      bool
	name          string
	logOptions    engine.LogOptions
	stopOptions   engine.StopOptions
	logs          func(ctx context.Context, stdout io.Writer) error
}

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fake) noted() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.calls, ", ")
}

func (f *fake) ref(verb, ref string) error {
	f.note("%s %s", verb, ref)
	if f.missing[ref] {
		return &fault.Error{Reason: fault.NotFound, Op: "find container", Subject: ref}
	}
	return nil
}

func (f *fake) Create(ctx context.Context, request engine.CreateRequest, report progress.Func) (engine.Container, error) {
	f.createRequest = request
	f.note("create %s", request.Image)
	if f.create != nil {
		if err := f.create(ctx, report); err != nil {
			return engine.Container{}, err
		}
	}
	return engine.Container{ID: "id1", Name: f.name}, nil
}

// began is a container whose process runs.
func (f *fake) began(ref string) engine.Container {
	asked := time.Now()
	ran := asked.Add(time.Second)
	return engine.Container{ID: ref, Asked: &asked, Started: &ran, Cloned: true, Accelerator: "tcg", Timeline: f.timeline}
}

func (f *fake) Start(_ context.Context, ref string) (engine.Container, error) {
	return f.began(ref), f.ref("start", ref)
}

func (f *fake) AttachStart(ctx context.Context, ref string, streams engine.Streams, started func(engine.Container)) (engine.Exit, error) {
	f.note("attachstart %s", ref)
	if f.run == nil {
		started(f.began(ref))
		return engine.Exit{Reason: "exited"}, nil
	}
	return f.run(ctx, streams, func() { started(f.began(ref)) })
}

func (f *fake) Restore(_ context.Context, ref string) (engine.Container, error) {
	return f.began(ref), f.ref("restore", ref)
}

func (f *fake) AttachRestore(ctx context.Context, ref string, streams engine.Streams, started func(engine.Container)) (engine.Exit, error) {
	f.note("attachrestore %s", ref)
	started(f.began(ref))
	return engine.Exit{Reason: "exited"}, nil
}

func (f *fake) Checkpoint(_ context.Context, ref string, o engine.CheckpointOptions) (engine.Container, error) {
	f.note("checkpoint %s leave=%v force=%v", ref, o.LeaveRunning, o.LoseConnections)
	return engine.Container{}, nil
}

func (f *fake) RemoveCheckpoint(_ context.Context, ref string) error {
	return f.ref("remove checkpoint", ref)
}

func (f *fake) Attach(ctx context.Context, ref string, streams engine.Streams) (engine.Exit, error) {
	f.note("attach %s", ref)
	return f.run(ctx, streams, func() {})
}

func (f *fake) Exec(ctx context.Context, ref string, request engine.ExecRequest, streams engine.Streams) (engine.Exit, error) {
	f.execRequest = request
	f.note("exec %s", ref)
	if f.run == nil {
		return engine.Exit{}, nil
	}
	return f.run(ctx, streams, func() {})
}

func (f *fake) Stop(_ context.Context, ref string, options engine.StopOptions) error {
	f.stopOptions = options
	return f.ref("stop", ref)
}

func (f *fake) Kill(_ context.Context, ref, signal string) error {
	err := f.ref("kill "+signal, ref)
	if f.kill != nil {
		err = f.kill(signal)
	}
	return err
}

func (f *fake) Pause(_ context.Context, ref string) error   { return f.ref("pause", ref) }
func (f *fake) Unpause(_ context.Context, ref string) error { return f.ref("unpause", ref) }

func (f *fake) Restart(_ context.Context, ref string, options engine.StopOptions) error {
	f.stopOptions = options
	return f.ref("restart", ref)
}

func (f *fake) Rename(_ context.Context, ref, name string) error {
	f.note("to %s", name)
	return f.ref("rename", ref)
}

func (f *fake) Update(_ context.Context, ref string, request engine.UpdateRequest) error {
	f.updateRequest = request
	return f.ref("update", ref)
}

func (f *fake) Remove(ctx context.Context, ref string, force bool) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if force {
		return f.ref("rm -f", ref)
	}
	return f.ref("rm", ref)
}

func (f *fake) Wait(_ context.Context, ref string) (engine.Exit, error) {
	return engine.Exit{Code: len(ref)}, f.ref("wait", ref)
}

func (f *fake) List(context.Context) ([]engine.Container, error) { return f.containers, nil }

func (f *fake) Inspect(_ context.Context, ref string) (engine.Container, error) {
	return engine.Container{ID: ref, Name: f.name, Terminal: f.terminal}, f.ref("inspect", ref)
}

func (f *fake) InspectOCI(ref string) (*specs.Spec, error) {
	return &specs.Spec{Version: "1.2.0", Hostname: "box"}, f.ref("inspect-oci", ref)
}

func (f *fake) Logs(ctx context.Context, ref string, options engine.LogOptions, stdout, _ io.Writer) error {
	f.logOptions = options
	f.note("logs %s", ref)
	if f.logs != nil {
		return f.logs(ctx, stdout)
	}
	return nil
}

func (f *fake) PullImage(_ context.Context, reference, platform, plugin string, _ progress.Func) (engine.Image, error) {
	f.note("pull %s %s %s", reference, platform, plugin)
	return engine.Image{Root: "sha256:abc"}, nil
}

func (f *fake) ListImages(context.Context) ([]engine.Image, error)           { return f.images, nil }
func (f *fake) Doctor(context.Context) ([]engine.Check, error)               { return f.checks, nil }
func (f *fake) ListPlugins(context.Context) ([]engine.PluginView, error)     { return f.plugins, nil }
func (f *fake) ListTemplates(context.Context) ([]hypervisor.Template, error) { return f.templates, nil }

func (f *fake) RemoveTemplate(_ context.Context, id string) error {
	f.note("remove template %s", id)
	return nil
}

func (f *fake) VerifyTemplates(context.Context) ([]engine.VerifiedTemplate, error) {
	return f.verified, nil
}

func (f *fake) WarmTemplate(_ context.Context, request engine.CreateRequest, _ progress.Func) (hypervisor.Template, error) {
	f.createRequest = request
	return hypervisor.Template{ID: "0123456789abcdef"}, nil
}

func (f *fake) ListNetworks(context.Context) ([]engine.NetworkView, error) { return nil, nil }

func (f *fake) BuildRootfs(_ context.Context, reference, platform, output string, _ progress.Func) error {
	f.note("rootfs %s %s %s", reference, platform, output)
	return nil
}

// now is when all tests happen.
var now = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// desk is a user's side of a command line.
type desk struct {
	Host
	stdout, stderr bytes.Buffer
	signals        chan os.Signal
	exited         chan int // by insisting
}

func newDesk(f *fake) *desk {
	d := &desk{signals: make(chan os.Signal), exited: make(chan int, 1)}
	d.Host = Host{
		Stdin: strings.NewReader(""), Stdout: &d.stdout, Stderr: &d.stderr,
		LookupEnv: func(name string) (string, bool) {
			value, ok := map[string]string{"HOME": "/home/me", "EMPTY": ""}[name]
			return value, ok
		},
		Now:     func() time.Time { return now },
		Version: "1.2.3",
		Signals: d.signals,
		Exit:    func(code int) { d.exited <- code },
		Open:    func(context.Context, engine.Options) (engine.API, error) { return f, nil },
	}
	return d
}

func (d *desk) run(t *testing.T, args ...string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return Run(ctx, d.Host, append([]string{"vzctl"}, args...))
}

// wants checks all that a user notices.
func (d *desk) wants(t *testing.T, code, wantCode int, stdout, stderr string) {
	t.Helper()
	if code != wantCode || d.stdout.String() != stdout || d.stderr.String() != stderr {
		t.Errorf("exit code %d, stdout %q, stderr %q\nwant      %d, stdout %q, stderr %q", code, d.stdout.String(), d.stderr.String(), wantCode, stdout, stderr)
	}
}
