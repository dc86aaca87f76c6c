package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/internal/wire"
)

// drainTime is how long the output of a dead plugin is read on if something still holds its end open.
const drainTime = 200 * time.Millisecond

// inherited are the variables every plugin gets from this process's environment.
var inherited = []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ"}

// fetching are those that plugins get too which fetch from the world. A proxy's address may have a password in it.
var fetching = []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"}

func inheritedBy(kind sdk.Kind) []string {
	if kind == sdk.ImageSource || kind == sdk.KernelProvider {
		return slices.Concat(inherited, fetching)
	}
	return inherited
}

// child is the process. It is go-plugin's runner.Runner, because go-plugin's own gives a plugin our standard input, kills the one process only, and
// takes it for alive while a grandchild holds its output.
type child struct {
	cmd       *exec.Cmd
	pid       int
	socketDir string
	lifeline  *os.File // our end
	stdout    *output
	stderr    *output
	tail      tail
	log       hclog.Logger
	elsewhere bool // it gave an address outside the socket's directory

	gone  context.Context // ends once the process is reaped, its group killed and its output read
	ended context.CancelFunc

	mu     sync.Mutex
	exit   error // how it ended
	reaped bool
	doomed bool
}

func newChild(o Options) (*child, error) {
	c := &child{cmd: exec.Command(o.Path), log: o.Log}
	c.gone, c.ended = context.WithCancel(context.Background())
	c.cmd.Dir = o.RuntimeDir
	c.cmd.SysProcAttr = sysProcAttr()
	for _, key := range inheritedBy(o.Kind) {
		if value, ok := os.LookupEnv(key); ok {
			c.cmd.Env = append(c.cmd.Env, key+"="+value)
		}
	}
	c.cmd.Env = append(c.cmd.Env, "TMPDIR="+o.RuntimeDir, wire.LogLevel+"="+o.Log.GetLevel().String())
	c.cmd.Env = append(c.cmd.Env, o.Env...)

	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.lifeline = ours
	c.cmd.ExtraFiles = []*os.File{theirs}
	c.cmd.Env = append(c.cmd.Env, wire.LifelineFD+"="+strconv.Itoa(3))
	if c.stdout, err = newOutput(&c.cmd.Stdout); err == nil {
		c.stderr, err = newOutput(&c.cmd.Stderr)
	}
	if err != nil {
		c.closeTheirs()
		c.remove()
		return nil, err
	}
	return c, nil
}

// Start implements runner.Runner. The process is started by a thread that waits for it and does nothing else: Linux takes the end of the thread that
// made a child for the end of its parent.
func (c *child) Start(context.Context) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		c.closeTheirs()
		if err != nil {
			c.ended()
			started <- err
			return
		}
		c.mu.Lock()
		c.pid = c.cmd.Process.Pid
		if c.doomed {
			c.signalGroup(syscall.SIGKILL)
		}
		c.mu.Unlock()
		started <- nil
		c.wait()
	}()
	return <-started
}

func (c *child) wait() {
	awaitExit(c.pid)
	c.signalGroup(syscall.SIGKILL) // before it is reaped its id cannot be another's
	c.mu.Lock()
	c.reaped = true
	c.exit = c.cmd.Wait()
	c.mu.Unlock()
	c.stdout.drain(drainTime)
	c.stderr.drain(drainTime)
	c.ended()
}

// kill also reaches a process that has yet to start.
func (c *child) kill() {
	c.mu.Lock()
	c.doomed = true
	c.mu.Unlock()
	c.signal(syscall.SIGKILL)
}

// signal reaches every process of the group, unless the plugin has been reaped.
func (c *child) signal(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pid != 0 && !c.reaped {
		c.signalGroup(s)
	}
}

func (c *child) signalGroup(s syscall.Signal) { _ = syscall.Kill(-c.pid, s) }

func (c *child) closeTheirs() {
	for _, f := range c.cmd.ExtraFiles {
		f.Close()
	}
	for _, w := range []io.Writer{c.cmd.Stdout, c.cmd.Stderr} {
		if f, ok := w.(*os.File); ok {
			f.Close()
		}
	}
}

// remove closes what is ours and removes the socket's directory. Call it when the process has been killed or never was.
func (c *child) remove() {
	if c.pid != 0 {
		<-c.gone.Done()
	}
	c.lifeline.Close()
	for _, o := range []*output{c.stdout, c.stderr} {
		if o != nil {
			o.file.Close()
		}
	}
	if c.socketDir != "" {
		_ = os.RemoveAll(c.socketDir)
	}
}

// lastWords says how the process ended.
func (c *child) lastWords() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	how := "exit status 0"
	if c.exit != nil {
		how = c.exit.Error()
	}
	if words := c.tail.String(); words != "" {
		how += ": " + words
	}
	return how
}

// explain says what the plugin did in place of the handshake; err is go-plugin's.
func (c *child) explain(err error) error {
	line := c.stdout.firstLine()
	parts := strings.Split(line, "|")
	_, notNumber := strconv.Atoi(parts[0])
	switch {
	case c.pid == 0:
		return err
	case c.elsewhere:
		return &fault.Error{Reason: fault.Invalid, Cause: err}
	case len(parts) >= 4 && notNumber == nil && parts[1] != strconv.Itoa(wire.Version):
		return &fault.Error{
			Reason: fault.Invalid, Cause: fmt.Errorf("the plugin speaks version %.20s of the plugin wire, and this program speaks %d", parts[1], wire.Version),
			Hint: "install matching versions of both",
		}
	case len(parts) >= 5 && notNumber == nil && parts[4] != "grpc":
		return &fault.Error{Reason: fault.Invalid, Cause: fmt.Errorf("the plugin speaks %.20q, and only grpc is spoken here", parts[4])}
	case line != "" && (len(parts) < 4 || notNumber != nil):
		return &fault.Error{Reason: fault.Invalid, Cause: fmt.Errorf("it said %q in place of a plugin's handshake", line), Hint: "it may be no plugin of vzctl"}
	}
	select {
	case <-c.gone.Done():
		return &fault.Error{Reason: fault.Unavailable, Cause: fmt.Errorf("it ended before it was ready: %s", c.lastWords())}
	case <-time.After(drainTime):
		return err
	}
}

// What follows completes runner.Runner.

func (c *child) Wait(context.Context) error {
	<-c.gone.Done()
	c.log.Debug("plugin ended", "plugin", c.cmd.Path, "pid", c.pid, "how", c.lastWords())
	return nil
}

func (c *child) Kill(context.Context) error { c.kill(); return nil }

func (c *child) Stdout() io.ReadCloser           { return c.stdout }
func (c *child) Stderr() io.ReadCloser           { return c.stderr }
func (c *child) Name() string                    { return c.cmd.Path }
func (c *child) ID() string                      { return strconv.Itoa(c.pid) }
func (c *child) Diagnose(context.Context) string { return "" }

// PluginToHost refuses what is no socket in the directory the plugin was given.
func (c *child) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" || !strings.HasPrefix(address, c.socketDir+"/") {
		c.elsewhere = true
		return "", "", errors.New("the plugin does not listen where it was told to")
	}
	return network, address, nil
}

// HostToPlugin is for go-plugin's broker, which is not used.
func (c *child) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
