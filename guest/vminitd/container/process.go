package container

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/vminitd/helper"
	"github.com/vzctl/vzctl/guest/vminitd/launch"
	"github.com/vzctl/vzctl/guest/vminitd/reap"
	"github.com/vzctl/vzctl/guest/vminitd/stdio"
	"github.com/vzctl/vzctl/sdk/fault"
)

// InitProcess is the id of a container's first process.
const InitProcess = "init"

// Exit is how a process ended.
type Exit struct {
	reap.Exit
	OOMKilled bool
}

// Process is one of a container.
type Process struct {
	id        string
	container *Container
	config    helper.Config
	done      chan struct{} // closed when it has ended
	exit      Exit          // valid then

	starting sync.Mutex // held by the one start

	mu       sync.Mutex
	pipes    *stdio.Pipes    // without a terminal
	terminal *stdio.Terminal // with one, once started
	child    *reap.Child     // once started
	deleted  bool
	begun    bool  // is being started
	left     []int // descriptors that nobody needs any more, see tidy
}

// newProcess returns a process that was not started; the input of one without terminal is at its end if it is to be.
func newProcess(c *Container, id string, config helper.Config, inputEnded bool) (*Process, error) {
	p := &Process{id: id, container: c, config: config, done: make(chan struct{})}
	if config.Process.Terminal {
		return p, nil
	}
	var err error
	if inputEnded {
		p.pipes, err = c.runtime.pipes.Take()
	} else {
		p.pipes, err = stdio.NewPipes()
	}
	return p, err
}

// Start runs the process; see launch.Start.
func (p *Process) Start(ctx context.Context) (pid int, err error) {
	defer p.tidy()
	return p.start(ctx, 0)
}

// start is Start, and waits for the end of the process for as long as patience, where that is no detour.
func (p *Process) start(ctx context.Context, patience time.Duration) (pid int, err error) {
	p.starting.Lock()
	defer p.starting.Unlock()
	if !p.beginStart() {
		return 0, p.wrongState("start process", "it was started or deleted before")
	}
	defer p.endStart()
	request := launch.Request{Config: p.config, Prepare: p.prepare, Unreadable: p.container.runtime.unreadable}
	if p.id == InitProcess {
		request.Helper = p.container.takeHelper()
		defer func() {
			if err != nil && request.Helper != nil { // who has it killed already does not mind
				request.Helper.Discard()
			}
		}()
	} else if request.Join, err = p.container.runningInit(); err != nil {
		return 0, err
	}
	if p.pipes != nil {
		request.Stdio = p.pipes.Far()
	}
	request.Cgroup = p.container.group.Directory()
	if request.Handed, err = p.container.handed(p.config.Init); err != nil {
		return 0, err
	}
	defer closeAll(request.Handed)
	kills := p.container.oomKills(p.id == InitProcess)
	if err := p.container.direct.guard(ctx, p.config.Process); err != nil {
		return 0, err
	}
	var started *launch.Started
	if request.Join != nil {
		started = p.startDirect(ctx, request, patience)
	}
	if started == nil {
		started, err = launch.Start(ctx, p.container.runtime.reaper, request)
	}
	if request.Join != nil && errors.Is(err, unix.EBUSY) {
		started, err = p.startBeside(ctx, request)
	}
	if err != nil {
		return 0, err
	}
	if p.id == InitProcess {
		p.container.holdMounts(started.Pid)
	}
	defer p.reapAtEnd(started.Child, kills)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = started.Left
	p.child = started.Child
	if p.pipes != nil {
		p.pipes.CloseFar()
	}
	if started.Terminal != nil {
		p.terminal = stdio.NewTerminal(started.Terminal)
	}
	return started.Pid, nil
}

// beginStart reports whether the process can be started, whose streams nobody closes until endStart then.
func (p *Process) beginStart() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun = p.child == nil && !p.deleted
	return p.begun
}

// awaitStart returns when the process is not being started.
func (p *Process) awaitStart() {
	p.starting.Lock()
	defer p.starting.Unlock()
}

func (p *Process) endStart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun = false; p.deleted { // meanwhile
		p.closeDeleted()
		p.closeLeft()
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// startBeside starts a further process in the cgroup of the first one. A container that shares its cgroup out, as service managers and container engines do, may have no process in
// the cgroup itself.
func (p *Process) startBeside(ctx context.Context, request launch.Request) (_ *launch.Started, err error) {
	if request.Cgroup, err = p.container.group.OpenOf(request.Join.Pid); err != nil {
		return nil, err
	}
	defer func() { _ = request.Cgroup.Close() }()
	return launch.Start(ctx, p.container.runtime.reaper, request)
}

// prepare gives the new process its part in being killed for want of memory. It has inherited that of any process, as vminitd has no other: the kernel never chooses a machine's first process.
func (p *Process) prepare(pid int) error {
	score := p.config.Process.OOMScoreAdj
	if score == nil || *score == 0 {
		return nil
	}
	return os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(strconv.Itoa(*score)), 0)
}

// killedCode is the exit code of a process that was killed, and of a shell whose last command was.
const killedCode = 128 + int(unix.SIGKILL)

// reapAtEnd tells those who wait of the end, once it is there.
func (p *Process) reapAtEnd(child *reap.Child, kills uint64) {
	select {
	case <-child.Done():
		p.reap(kills)
	default:
		p.container.runtime.work.Go(func() {
			<-child.Done()
			p.reap(kills)
		})
	}
}

// reap tells those who wait of the end.
func (p *Process) reap(killsBefore uint64) {
	p.exit = Exit{Exit: p.child.Exit()}
	p.exit.OOMKilled = p.container.oomKills(p.id == InitProcess || p.exit.Code == killedCode) > killsBefore
	if p.pipes != nil {
		p.pipes.Stdin.Close()
	}
	p.linger()
	close(p.done)
	p.container.runtime.publish(Event{Container: p.container.id, Process: p.id, Exit: p.exit})
}

// lingering is how long the output of a further process that has ended is read for others who have it.
const lingering = 2 * time.Second

// linger ends the output of a further process, though others may have it. With a container's first process all others end.
func (p *Process) linger() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.id == InitProcess:
	case p.terminal != nil:
		p.terminal.Linger(lingering)
	case p.pipes != nil:
		p.pipes.Stdout.Linger(lingering)
		p.pipes.Stderr.Linger(lingering)
	}
}

// Wait returns how the process ended, once it has.
func (p *Process) Wait(ctx context.Context) (Exit, error) {
	select {
	case <-p.done:
		return p.exit, nil
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	}
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *Process) running() *reap.Child {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.child == nil || p.ended() {
		return nil
	}
	return p.child
}

// Signal sends a signal to the process.
func (p *Process) Signal(signal unix.Signal) error {
	child := p.running()
	if child == nil {
		return p.wrongState("signal process", "it is not running")
	}
	if err := child.Signal(signal); errors.Is(err, reap.ErrEnded) || errors.Is(err, unix.ESRCH) {
		return p.wrongState("signal process", "it has ended")
	} else if err != nil {
		return &fault.Error{Reason: fault.Invalid, Op: "signal process", Subject: p.id, Cause: err}
	}
	if signal == unix.SIGKILL { // which must come first: a freeze under way may wait for this process
		return p.container.thawFiles()
	}
	return nil
}

// Resize sizes the process's terminal.
func (p *Process) Resize(width, height uint16) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal == nil {
		if p.config.Process.Terminal && !p.deleted && p.child == nil {
			p.config.Process.ConsoleSize = &specs.Box{Width: uint(width), Height: uint(height)} // for the start
			return nil
		}
		return p.wrongState("resize terminal of process", "it has none")
	}
	window := &unix.Winsize{Row: height, Col: width}
	raw, err := p.terminal.File().SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) { err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, window) })
	if err := errors.Join(controlErr, err); err != nil {
		return p.wrongState("resize terminal of process", err.Error())
	}
	return nil
}

// Stream is one of a process's.
type Stream interface {
	Claim(conn stdio.Conn) error
	Serve(conn stdio.Conn)
	Freed() <-chan struct{}
}

// Kind says which stream.
type Kind int

// The kinds.
const (
	Stdin Kind = iota
	Stdout
	Stderr
	Terminal
)

// Stream returns a stream of the process.
func (p *Process) Stream(kind Kind) (Stream, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kind == Terminal {
		if p.terminal == nil {
			return nil, p.wrongState("open terminal of process", "it has none, or was not started")
		}
		return p.terminal, nil
	}
	if p.pipes == nil {
		return nil, p.wrongState("open stream of process", "it has a terminal instead")
	}
	switch kind {
	case Stdin:
		return p.pipes.Stdin, nil
	case Stdout:
		return p.pipes.Stdout, nil
	default:
		return p.pipes.Stderr, nil
	}
}

// tidy does what is left to be done when nobody waits for the process any more.
func (p *Process) tidy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeLeft()
}

// closeLeft is with the lock held.
func (p *Process) closeLeft() {
	for _, fd := range p.left {
		_ = unix.Close(fd)
	}
	p.left = nil
}

// delete closes the streams of a process that does not run.
func (p *Process) delete() {
	p.tidy()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deleted = true
	if !p.begun { // otherwise endStart does it
		p.closeDeleted()
	}
}

// closeDeleted is with the lock held.
func (p *Process) closeDeleted() {
	p.closeStreams()
	if p.child == nil { // nobody waits for one who never ran
		p.exit = Exit{Exit: reap.Exit{Code: 128 + int(unix.SIGKILL), Signal: unix.SIGKILL}}
		if !p.ended() {
			close(p.done)
		}
	}
}

func (p *Process) closeStreams() {
	if p.pipes != nil {
		p.pipes.Close()
	}
	if p.terminal != nil {
		p.terminal.Close()
	}
}

func (p *Process) wrongState(op, why string) error {
	return &fault.Error{Reason: fault.FailedPrecondition, Op: op, Subject: p.id, Cause: errors.New(why)}
}
