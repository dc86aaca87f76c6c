package supervisor

import (
	"context"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/config"
	"github.com/vzctl/vzctl/core/pluginhost"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/sdk"
)

// early is a hypervisor plugin that is started before anybody knows whether it is needed: beside what the starter of the supervisor still does, and beside the reading
// of records. It is taken once, or closed.
type early struct {
	path    string
	cancel  context.CancelFunc
	started chan struct{} // closed when the plugin answers, or err says why it does not
	running sandbox.Hypervisor
	err     error

	mu    sync.Mutex
	taken bool
}

// startEarly starts the plugin at a path; nil if there is none.
func startEarly(path, run string, log hclog.Logger) *early {
	if path == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &early{path: path, cancel: cancel, started: make(chan struct{})}
	go func() {
		defer close(e.started)
		e.running, e.err = launchHypervisor(ctx, path, run, log)
	}()
	return e
}

// await returns once the plugin is started, or is not. gone is closed when it ends after that.
func (e *early) await() (gone <-chan struct{}, err error) {
	<-e.started
	if p, ok := e.running.(interface{ Done() <-chan struct{} }); ok {
		gone = p.Done()
	}
	return gone, e.err
}

// take returns the plugin once it is started, if it is the one at a path and nobody has taken it; ok is false otherwise.
func (e *early) take(ctx context.Context, path string) (running sandbox.Hypervisor, ok bool, err error) {
	if e == nil || e.path != path || !e.mine() {
		return nil, false, nil
	}
	select {
	case <-e.started:
		return e.running, true, e.err
	case <-ctx.Done():
		return nil, true, e.end(ctx.Err()) // not the cause: whoever cancelled it tells that
	}
}

// mine is true for the first who asks.
func (e *early) mine() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := !e.taken
	e.taken = true
	return first
}

// close ends the plugin, unless it was taken.
func (e *early) close() {
	if e != nil && e.mine() {
		_ = e.end(nil) // it has done nothing
	}
}

// end ends the plugin, and returns because.
func (e *early) end(because error) error {
	e.cancel()
	<-e.started
	if e.err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		_ = e.running.Close(ctx) // it was killed if it did not end
	}
	return because
}

// launchHypervisor starts the hypervisor plugin at a path.
func launchHypervisor(ctx context.Context, path, run string, log hclog.Logger) (sandbox.Hypervisor, error) {
	loaded, err := config.Load()
	if err != nil {
		return nil, err
	}
	host := pluginhost.New(pluginhost.Options{Plugins: loaded.Plugins, RuntimeDir: run, Log: log})
	running, err := host.Start(ctx, sdk.Hypervisor, path)
	if err != nil {
		return nil, err
	}
	return Hypervisor(running), nil
}
