// Package conformance says, as cases that run, what a plugin of each kind must do. A plugin in any language can be judged: it is started as a program, the way
// a host does. "vzctl plugin verify" and the tests of our own plugins use it. Start with [Run]; there is one file per kind, and common.go for all.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/launch"
)

// Case is one thing a plugin must do; its name is the sentence that says it.
type Case struct {
	Name string
	// Run returns nil if the plugin does it, an error that says what it did instead, or [NotRun].
	Run func(ctx context.Context, env *Env) error
	// Timeout of the case; 0: 30 s.
	Timeout time.Duration
}

// Target is the plugin that is judged.
type Target struct {
	Path string
	// Env has "KEY=value" that the plugin needs beside what every plugin gets.
	Env []string
	// Log takes the plugin's log; may be nil.
	Log hclog.Logger
}

// Fixture is what a suite needs of the outside. What is nil leaves cases not run, and they say so.
type Fixture struct {
	Hypervisor  *HypervisorFixture
	ImageSource *ImageSourceFixture
	Kernel      *KernelFixture
	Network     *NetworkFixture
}

// Env is what one case works with: a plugin process of its own, and empty directories.
type Env struct {
	Target  Target
	Fixture Fixture
	// Process is the running plugin. A case may close or kill it.
	Process *launch.Process
	// RuntimeDir is short, for sockets; Dir for everything else. Home is the plugin's HOME, in which it may leave a cache only.
	RuntimeDir, Dir, Home string
}

// Status of a result.
type Status string

// The statuses. A case that could not be run is never passed.
const (
	Passed Status = "passed"
	Failed Status = "failed"
	NotRan Status = "not run"
)

// Result of one case.
type Result struct {
	Case   string        `json:"case"`
	Status Status        `json:"status"`
	Reason string        `json:"reason,omitempty"`
	Time   time.Duration `json:"time"`
}

// NotRun is the error of a case that cannot be run here.
type NotRun struct{ Reason string }

// Error implements error.
func (n NotRun) Error() string { return "not run: " + n.Reason }

// Cases returns what a plugin of the kind must do: first what every plugin must, then its kind's.
func Cases(kind sdk.Kind) []Case {
	cases := commonCases()
	switch kind {
	case sdk.Hypervisor:
		cases = append(append(cases, hypervisorCases()...), guestCases()...)
	case sdk.ImageSource:
		cases = append(cases, imageSourceCases()...)
	case sdk.RootfsBuilder:
		cases = append(cases, rootfsCases()...)
	case sdk.Network:
		cases = append(append(append(cases, networkCases()...), frameCases()...), ipv6Cases()...)
	case sdk.KernelProvider:
		cases = append(cases, kernelCases()...)
	case sdk.Translator:
		cases = append(cases, translatorCases()...)
	}
	return cases
}

// Inspect starts a plugin, returns what it says of itself, and ends it.
func Inspect(ctx context.Context, target Target) (sdk.Info, error) {
	env, err := newEnv(ctx, target, Fixture{})
	if err != nil {
		return sdk.Info{}, err
	}
	defer env.remove()
	return env.Process.Info(), env.Process.Close(ctx)
}

// Run judges a plugin by all cases of its kind. An error means that there was nothing to judge; what the plugin does wrong is in the results. Report, which may
// be nil, is called after each case.
func Run(ctx context.Context, target Target, fixture Fixture, report func(Result)) ([]Result, error) {
	info, err := Inspect(ctx, target)
	if err != nil {
		return nil, err
	}
	var results []Result
	for _, c := range Cases(info.Kind) {
		if ctx.Err() != nil {
			return results, ctx.Err()
		}
		start := time.Now()
		r := judge(c.Name, RunCase(ctx, c, target, fixture))
		r.Time = time.Since(start)
		if report != nil {
			report(r)
		}
		results = append(results, r)
	}
	return results, nil
}

func judge(name string, err error) Result {
	var notRun NotRun
	switch {
	case err == nil:
		return Result{Case: name, Status: Passed}
	case errors.As(err, &notRun):
		return Result{Case: name, Status: NotRan, Reason: notRun.Reason}
	}
	return Result{Case: name, Status: Failed, Reason: strings.ReplaceAll(err.Error(), "\n", "; ")}
}

// RunCase runs one case with a plugin process of its own. Beside what the case checks the plugin must end when asked to, and leave nothing behind.
func RunCase(ctx context.Context, c Case, target Target, fixture Fixture) (err error) {
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	env, err := newEnv(ctx, target, fixture)
	if err != nil {
		return err
	}
	defer env.remove()
	err = c.Run(ctx, env)
	alive := env.alive()
	if closed := env.Process.Close(context.WithoutCancel(ctx)); err == nil && alive && closed != nil {
		return closed
	}
	if err != nil || !alive {
		return err
	}
	return env.nothingLeft()
}

func newEnv(ctx context.Context, target Target, fixture Fixture) (env *Env, err error) {
	env = &Env{Target: target, Fixture: fixture}
	defer func() {
		if err != nil {
			env.remove()
		}
	}()
	if env.RuntimeDir, err = os.MkdirTemp("/tmp", "vzc"); err != nil {
		return nil, err
	}
	if env.Dir, err = os.MkdirTemp("", "conformance"); err != nil {
		return nil, err
	}
	// macOS reaches its temporary directories through links, which paths of plugins must not contain.
	if env.RuntimeDir, err = filepath.EvalSymlinks(env.RuntimeDir); err != nil {
		return nil, err
	}
	if env.Dir, err = filepath.EvalSymlinks(env.Dir); err != nil {
		return nil, err
	}
	env.Home = filepath.Join(env.Dir, "home")
	if err := os.Mkdir(env.Home, 0o700); err != nil {
		return nil, err
	}
	env.Process, err = env.start(ctx)
	return env, err
}

// start runs the plugin (again) with the same directories.
func (e *Env) start(ctx context.Context) (*launch.Process, error) {
	return launch.Start(ctx, launch.Options{
		Path: e.Target.Path, RuntimeDir: e.RuntimeDir, Env: append([]string{"HOME=" + e.Home}, e.Target.Env...), Log: e.Target.Log,
	})
}

func (e *Env) remove() {
	if e.Process != nil {
		_ = e.Process.Close(context.Background())
	}
	for _, dir := range []string{e.RuntimeDir, e.Dir} {
		if dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
}

func (e *Env) alive() bool {
	select {
	case <-e.Process.Done():
		return false
	default:
		return true
	}
}

// nothingLeft: an ended plugin leaves no file in its TMPDIR, and none in its HOME.
func (e *Env) nothingLeft() error {
	for what, dir := range map[string]string{"HOME": e.Home, "TMPDIR": e.RuntimeDir} {
		left, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, entry := range left {
			return fmt.Errorf("the ended plugin left %q in its %s", entry.Name(), what)
		}
	}
	return nil
}

// subdir makes a directory of a case in Dir.
func (e *Env) subdir(name string) (string, error) {
	dir := filepath.Join(e.Dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}

// wantReason checks that a call failed for one of the reasons, with a text.
func wantReason(call string, err error, reasons ...fault.Reason) error {
	if err == nil {
		return fmt.Errorf("%s succeeded, and should fail with %q", call, reasons[0])
	}
	for _, r := range reasons {
		if errors.Is(err, r) {
			return nil
		}
	}
	return wrong(err, "%s failed with reason %q, and should with %q", call, fault.ReasonOf(err), reasons[0])
}

// offered turns a refusal for want of a capability into a case that is not run.
func offered(what string, err error) error {
	if errors.Is(err, fault.Unsupported) {
		return NotRun{Reason: "the plugin does not offer " + what}
	}
	return err
}

// wrong says what a plugin did, and with which error if there was one.
func wrong(err error, format string, values ...any) error {
	if err == nil {
		return fmt.Errorf(format, values...)
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, values...), err)
}
