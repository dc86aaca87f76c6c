package command

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/cmd/vzctl/terminal"
	"github.com/vzctl/vzctl/core/engine"
	"github.com/vzctl/vzctl/sdk/fault"
)

// signalTimeout bounds handing a signal to a container.
const signalTimeout = 10 * time.Second

// hangUpPatience is how long a process may go on when the terminal is gone and SIGHUP did not end it. Nobody could ask it to end any more.
const hangUpPatience = 2 * time.Second

// foreground connects the user's streams to a process and undoes that in end, which every path must reach before vzctl writes anything itself.
type foreground struct {
	p       *program
	streams engine.Streams
	raw     bool  // once the process runs
	proxy   bool  // signals are the process's
	screens []int // descriptors of the terminals that there were

	sink    *sink
	mu      sync.Mutex
	over    bool
	undo    []func()
	stop    func() // see onLostOutput
	pending sync.WaitGroup
	done    chan struct{} // closed at the end
}

var errNoTerminal = errors.New("stdin is not a terminal")

// foregroundFlags are those of commands that connect to a container's first process.
func foregroundFlags() []cli.Flag {
	return []cli.Flag{detachKeysFlag(), &cli.BoolFlag{Name: "sig-proxy", Value: true, Usage: "hand signals on to the process"}}
}

func detachKeysFlag() cli.Flag {
	return &cli.StringFlag{Name: "detach-keys", Value: "ctrl-p,ctrl-q", Usage: "`KEYS` that disconnect a terminal and leave the process running; empty for none"}
}

// newForeground refuses a terminal that is not there. It reads foregroundFlags.
func (p *program) newForeground(c *cli.Context, tty, stdin bool) (*foreground, error) {
	f := &foreground{p: p, done: make(chan struct{}), proxy: c.Bool("sig-proxy")}
	keys, err := terminal.ParseKeys(c.String("detach-keys"))
	if err != nil {
		return nil, usage("--detach-keys %w", err)
	}
	in, inIsTerminal := terminal.Of(p.Stdin)
	out, outIsTerminal := terminal.Of(p.Stdout)
	if stdin {
		f.streams.Stdin = p.Stdin
	}
	if inIsTerminal {
		f.screens = append(f.screens, in)
	}
	if outIsTerminal {
		f.screens = append(f.screens, out)
	}
	if tty && stdin && !inIsTerminal {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "connect the terminal", Hint: "leave out -t", Cause: errNoTerminal}
	}
	if tty && stdin && len(keys) > 0 {
		left := make(chan struct{})
		f.streams.Detach = left
		f.streams.Stdin = terminal.Watch(p.Stdin, keys, func() { close(left) }, f.done)
	}
	f.sink = &sink{gone: f.unread}
	f.streams.Stdout = stream{f.sink, p.Stdout}
	if !tty {
		f.streams.Stderr = stream{f.sink, p.Stderr}
		f.streams.Ordered = onePlace(p.Stdout, p.Stderr)
		return f, nil
	}
	f.raw = stdin
	switch {
	case outIsTerminal:
		f.resize(out)
	case inIsTerminal:
		f.resize(in)
	}
	return f, nil
}

// onePlace reports whether two outputs lead to one place where somebody may see what comes first.
func onePlace(stdout, stderr io.Writer) bool {
	out, outOK := stdout.(*os.File)
	err, errOK := stderr.(*os.File)
	if !outOK || !errOK {
		return stdout == stderr
	}
	outInfo, outErr := out.Stat()
	errInfo, errErr := err.Stat()
	if outErr != nil || errErr != nil || !os.SameFile(outInfo, errInfo) {
		return false
	}
	null, nullErr := os.Stat(os.DevNull)
	return nullErr != nil || !os.SameFile(outInfo, null)
}

func (f *foreground) resize(fd int) {
	sizes, stop := terminal.Sizes(fd)
	f.streams.Resize = sizes
	f.undo = append(f.undo, stop)
}

// running makes the terminal the process's own. Until then Ctrl-C is vzctl's, so that a start can be given up.
func (f *foreground) running() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over || !f.raw {
		return
	}
	if fd, ok := terminal.Of(f.p.Stdin); ok {
		if restore, err := terminal.Raw(fd); err == nil {
			f.undo = append(f.undo, restore)
		}
	}
}

// beginning is how a container comes to run with streams connected: engine.API's AttachStart or AttachRestore.
type beginning func(ctx context.Context, ref string, streams engine.Streams, started func(engine.Container)) (engine.Exit, error)

// attach lets a container begin in the foreground. The container is that of the moment it began to run, empty if it never did.
func (f *foreground) attach(ctx context.Context, api engine.API, id string, begin beginning) (engine.Exit, engine.Container, error) {
	var began engine.Container
	var mu sync.Mutex
	exit, err := begin(ctx, id, f.streams, func(c engine.Container) {
		mu.Lock()
		defer mu.Unlock()
		began = c
		began.ID = id
		if f.proxy {
			f.signals(ctx, api, id)
		}
		f.onLostOutput(func() { f.kill(ctx, api, id, "SIGKILL") })
		f.running()
	})
	f.end()
	mu.Lock()
	defer mu.Unlock()
	return exit, began, err
}

// onLostOutput says what ends a process whose output goes nowhere any more.
func (f *foreground) onLostOutput(stop func()) {
	f.mu.Lock()
	f.stop = stop
	f.mu.Unlock()
	if f.sink.failure() != nil {
		f.unread()
	}
}

func (f *foreground) unread() {
	f.mu.Lock()
	stop := f.stop
	f.stop = nil
	f.mu.Unlock()
	if stop != nil {
		f.later(stop)
	}
}

// left reports whether the user has left a process that goes on, and says so.
func (f *foreground) left(err error, what string) bool {
	if !errors.Is(err, engine.ErrDetached) {
		return false
	}
	if _, ok := terminal.Of(f.p.Stderr); ok {
		_, _ = io.WriteString(f.p.Stderr, "\n") // the process left the cursor somewhere
	}
	f.p.say("detached from " + what)
	return true
}

// ended is how a command ends with its process.
func (f *foreground) ended(exit engine.Exit) error {
	if err := f.sink.ended(); err != nil {
		return err
	}
	return f.p.ended(exit)
}

// signals hands signals on to a container; the third that asks to end ends it for good.
func (f *foreground) signals(ctx context.Context, api engine.API, id string) {
	restore := f.p.interrupt.to(func(s os.Signal, count int) {
		name := unix.SignalName(number(s))
		if count >= patience {
			name = "SIGKILL"
		}
		f.later(func() { f.kill(ctx, api, id, name) })
		if s == syscall.SIGHUP && slices.ContainsFunc(f.screens, terminal.Gone) {
			f.hangUp()
		}
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		restore()
		return
	}
	f.undo = append(f.undo, restore)
}

// hangUp takes the output for lost if the process does not end soon.
func (f *foreground) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return
	}
	timer := time.AfterFunc(hangUpPatience, func() { f.sink.lost(errHungUp) })
	f.undo = append(f.undo, func() { timer.Stop() })
}

func (f *foreground) kill(ctx context.Context, api engine.API, id, signal string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), signalTimeout)
	defer cancel()
	if err := api.Kill(ctx, id, signal); err != nil {
		f.p.log.Debug("signal not delivered", "signal", signal, "container", id, "error", err)
	}
}

// later runs do beside the process; end waits for it.
func (f *foreground) later(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return
	}
	f.pending.Go(do)
}

// end gives the terminal and the signals back. More calls do nothing.
func (f *foreground) end() {
	f.mu.Lock()
	if !f.over {
		close(f.done)
	}
	f.over = true
	undo := f.undo
	f.undo = nil
	f.mu.Unlock()
	for i := len(undo) - 1; i >= 0; i-- {
		undo[i]()
	}
	f.pending.Wait()
}
