package launch

import (
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/internal/wire"
)

// drainTime is how long the output of a dead plugin is read on if something still holds its end open.
const drainTime = 200 * time.Millisecond

// inherited are the variables every plugin gets from this process's environment.
var inherited = []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ"}

// fetching are those that plugins get too which fetch from the world. A proxy's address may have a password in it.
var fetching = []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// Inherited returns what a plugin of a kind gets of this process's environment, as "KEY=value".
func Inherited(kind sdk.Kind) (env []string) {
	keys := inherited
	if kind == sdk.ImageSource || kind == sdk.KernelProvider {
		keys = slices.Concat(inherited, fetching)
	}
	for _, key := range keys {
		if value, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+value)
		}
	}
	return env
}

// child is the process. It gets nothing of our standard input, is killed with all of its group, and is not taken for alive while a grandchild holds its output.
type child struct {
	cmd       *exec.Cmd
	pid       int
	socketDir string
	lifeline  *os.File // our end
	stdout    *output
	stderr    *output
	tail      tail
	log       hclog.Logger

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
	c.cmd.Env = append(Inherited(o.Kind), "TMPDIR="+o.RuntimeDir, wire.LogLevel+"="+o.Log.GetLevel().String())
	c.cmd.Env = append(c.cmd.Env, o.Env...)

	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.lifeline = ours
	c.cmd.ExtraFiles = []*os.File{theirs}
	c.cmd.Env = append(c.cmd.Env, wire.LifelineFD+"="+strconv.Itoa(3))
	if c.socketDir, err = os.MkdirTemp(o.RuntimeDir, "plugin-dir"); err == nil {
		c.cmd.Env = append(c.cmd.Env, wire.Environment(c.socketDir)...)
		c.stdout, err = newOutput(&c.cmd.Stdout)
	}
	if err == nil {
		c.stderr, err = newOutput(&c.cmd.Stderr)
	}
	if err != nil {
		c.closeTheirs()
		c.remove()
		return nil, err
	}
	return c, nil
}

// start starts the process, by a thread that waits for it and does nothing else: Linux takes the end of the thread that
// made a child for the end of its parent.
func (c *child) start() error {
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
	c.log.Debug("plugin ended", "plugin", c.cmd.Path, "pid", c.pid, "how", c.lastWords())
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
