package supervisor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/daemon"
	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	supervisorv1 "github.com/vzctl/vzctl/core/proto/vzctl/supervisor/v1"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/rpc"
)

// Client speaks to the supervisor of one sandbox.
type Client struct {
	SandboxID   string
	ContainerID string

	store  *store.Store
	run    string // runtime directory
	conn   lazy
	calls  grpc.ClientConnInterface
	rpc    supervisorv1.SupervisorClient
	daemon *daemon.Process // set by Launch
}

// Prepared is the process of a supervisor that waits to be launched. It and its hypervisor plugin are made meanwhile, and end with whoever has prepared them.
type Prepared struct {
	store     *store.Store
	sandboxID string
	daemon    *daemon.Process
	launched  bool
}

// Prepare starts the process of a sandbox's supervisor: program is the vzctl to run, unless the supervisor was taken from the reserve, which may be nil. Of the records only the sandbox's is needed yet, and of that the
// hypervisor plugin. The caller holds the lock of the container, and calls Launch or Close.
func Prepare(ctx context.Context, st *store.Store, program []string, sandboxID string, debug bool, from *Reserve) (_ *Prepared, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, from.Close()) // another may be prepared
		}
	}()
	paths := st.Paths()
	b, err := st.GetSandbox(sandboxID)
	if err != nil {
		return nil, err
	}
	waited := from.SandboxID() == sandboxID
	run := paths.SandboxRun(sandboxID)
	if !waited { // otherwise it is there
		if run, err = makeRun(ctx, st, b); err != nil {
			return nil, err
		}
	}
	life, err := lock.Try(paths.SandboxLife(sandboxID))
	if err != nil {
		return nil, err
	}
	spec := daemon.Spec{Life: life, LogPath: paths.SupervisorLog(sandboxID), Sockets: []string{filepath.Join(run, controlSocket), filepath.Join(run, streamSocket)}, Held: true, Env: from.variable()}
	var d *daemon.Process
	if waited {
		d, err = from.send(spec)
	} else {
		args := []string{"supervise", "--root", paths.Root, "--run", run}
		if debug {
			args = append(args, "--debug")
		}
		spec.Program, spec.Args, spec.Env = program, append(args, sandboxID), append(spec.Env, hypervisorKey+"="+b.Hypervisor)
		d, err = daemon.Start(spec)
	}
	if err != nil {
		return nil, err
	}
	return &Prepared{store: st, sandboxID: sandboxID, daemon: d}, nil
}

// Ready returns whether it can be launched. One from the reserve may have ended; then another can be prepared.
func (p *Prepared) Ready() bool { return p.daemon.Ready() }

// Launch lets the supervisor begin; its container's process runs after Start. The caller has recorded that the container is starting. After an error the supervisor
// has ended.
func (p *Prepared) Launch(containerID string) (*Client, error) {
	p.launched = true
	d := p.daemon
	if err := d.Release(); err != nil {
		return nil, errors.Join(err, d.Kill())
	}
	gone, ended := context.WithCancel(context.Background())
	go func() { <-d.Done(); ended() }()
	c, err := connect(p.store, p.sandboxID, containerID, rpc.Peer{Gone: gone, LastWords: d.LastWords})
	if err != nil {
		return nil, errors.Join(err, d.Kill())
	}
	c.daemon = d
	return c, nil
}

// Close ends a supervisor unless it was launched, and returns when it has ended, whatever has become of ctx.
func (p *Prepared) Close(ctx context.Context) error {
	if p.launched {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := p.daemon.Withdraw(ctx); err != nil {
		return errors.Join(err, p.daemon.Kill())
	}
	return nil
}

// Names of the sockets in the runtime directory, and how many they are.
const (
	controlSocket = "supervisor"
	streamSocket  = "streams"
	socketCount   = 2
)

// makeRun makes an empty runtime directory, and writes down where: a later session of the user may have another place for them. What a supervisor before, that
// was killed, has left there is removed.
func makeRun(ctx context.Context, st *store.Store, b store.Sandbox) (string, error) {
	usual := st.Paths().SandboxRun(b.ID)
	for _, old := range []string{b.RuntimeDir, usual} {
		// The record may be damaged, and this removes all that is there.
		if !filepath.IsAbs(old) || filepath.Base(old) != filepath.Base(usual) {
			continue
		}
		if err := os.RemoveAll(old); err != nil {
			return "", err
		}
	}
	run, err := st.MakeSandboxRun(b.ID)
	if err != nil || run == b.RuntimeDir {
		return run, err
	}
	_, err = st.UpdateSandbox(ctx, b.ID, func(b *store.Sandbox) error { b.RuntimeDir = run; return nil })
	return run, err
}

// Connect reaches a supervisor that should be running.
func Connect(st *store.Store, sandboxID, containerID string) (*Client, error) {
	return connect(st, sandboxID, containerID, rpc.Peer{})
}

func connect(st *store.Store, sandboxID, containerID string, peer rpc.Peer) (*Client, error) {
	run, err := st.RuntimeDir(sandboxID)
	if err != nil {
		return nil, err
	}
	c := &Client{SandboxID: sandboxID, ContainerID: containerID, store: st, run: run}
	c.conn.dial = func(ctx context.Context, _ string) (net.Conn, error) { return c.dial(ctx, controlSocket) }
	peer.Name = "the container's supervisor"
	c.calls = rpc.Wrap(&c.conn, peer)
	c.rpc = supervisorv1.NewSupervisorClient(c.calls)
	return c, nil
}

func (c *Client) dial(ctx context.Context, name string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", filepath.Join(c.run, name))
}

// Close ends the connection; the supervisor goes on.
func (c *Client) Close() error { return c.conn.Close() }

// Start lets the process run, and returns once it does. If ctx ends before that, the start is taken back.
func (c *Client) Start(ctx context.Context) error {
	_, err := c.rpc.Start(ctx, &supervisorv1.StartRequest{}, c.patient())
	if err == nil {
		return nil
	}
	// What failed has been undone, and recorded, when the supervisor is gone.
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if ctx.Err() != nil {
		// It may have succeeded at that very moment. A supervisor that is gone has no use for this.
		_, _ = c.rpc.Stop(patience, &supervisorv1.StopRequest{Signal: sigkill})
		return errors.Join(ctx.Err(), lock.AwaitFree(patience, c.store.Paths().SandboxLife(c.SandboxID)))
	}
	if c.daemon != nil && errors.Is(c.daemon.Wait(patience), context.DeadlineExceeded) {
		err = errors.Join(err, errors.New("its supervisor does not end"))
	}
	if errors.Is(err, fault.Unavailable) { // a start that has failed before it was asked about is on record
		if record, getErr := c.store.Get(c.ContainerID); getErr == nil && record.State == lifecycle.Failed && record.Exit != nil && record.Exit.Message != "" {
			return errors.New(record.Exit.Message)
		}
	}
	return err
}

// endTimeout bounds the wait for a supervisor that takes a start back.
const endTimeout = 2 * time.Minute

const sigkill = 9

// Abandon takes a launched supervisor back before Start, whatever has become of ctx.
func (c *Client) Abandon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	_, err := c.rpc.Stop(ctx, &supervisorv1.StopRequest{})
	return err
}

// Stop sends a signal, SIGKILL after the timeout, and returns once the container is stopped.
func (c *Client) Stop(ctx context.Context, signal int, timeout time.Duration) error {
	_, err := c.rpc.Stop(ctx, &supervisorv1.StopRequest{Signal: int32(signal), TimeoutMilliseconds: timeout.Milliseconds()})
	return err
}

// StopToRestart is Stop of a container that is started again soon: it is not removed at its end.
func (c *Client) StopToRestart(ctx context.Context, signal int, timeout time.Duration) error {
	_, err := c.rpc.Stop(ctx, &supervisorv1.StopRequest{Signal: int32(signal), TimeoutMilliseconds: timeout.Milliseconds(), Keep: true})
	return err
}

// Suspend is Stop of a container that is to run again when the host does, if its restart policy says so.
func (c *Client) Suspend(ctx context.Context, signal int, timeout time.Duration) error {
	_, err := c.rpc.Stop(ctx, &supervisorv1.StopRequest{Signal: int32(signal), TimeoutMilliseconds: timeout.Milliseconds(), StillWanted: true})
	return err
}

// Update changes limits of the container: linux.resources of an OCI runtime spec as JSON, of which only what is set changes.
func (c *Client) Update(ctx context.Context, resources []byte, disks ...sandbox.IOLimit) error {
	_, err := c.rpc.Update(ctx, &supervisorv1.UpdateRequest{OciResources: resources, IoLimits: wireIOLimits(disks)})
	return err
}

// Pause lets the VM stand still, and returns when that is on record.
func (c *Client) Pause(ctx context.Context) error {
	_, err := c.rpc.Pause(ctx, &supervisorv1.PauseRequest{})
	return err
}

// Unpause lets a paused VM go on, and returns when that is on record.
func (c *Client) Unpause(ctx context.Context) error {
	_, err := c.rpc.Unpause(ctx, &supervisorv1.UnpauseRequest{})
	return err
}

// Checkpoint saves the container, and returns when that is on record, and the container stopped unless it is to go on.
func (c *Client) Checkpoint(ctx context.Context, leaveRunning, loseConnections bool) error {
	_, err := c.rpc.Checkpoint(ctx, &supervisorv1.CheckpointRequest{LeaveRunning: leaveRunning, LoseConnections: loseConnections})
	return err
}

// End sends a signal to the first process of a container that is not to be started again after that.
func (c *Client) End(ctx context.Context, signal int) error {
	_, err := c.rpc.Signal(ctx, &supervisorv1.SignalRequest{Signal: int32(signal), Unwanted: true})
	return err
}

// Signal sends a signal to a process, "" being the first.
func (c *Client) Signal(ctx context.Context, process string, signal int) error {
	_, err := c.rpc.Signal(ctx, &supervisorv1.SignalRequest{ProcessId: process, Signal: int32(signal)})
	return err
}

// CheckHealth has the container's health check executed now. It returns the result, and how the container is after that.
func (c *Client) CheckHealth(ctx context.Context) (exitCode int, output []byte, status string, err error) {
	answer, err := c.rpc.CheckHealth(ctx, &supervisorv1.CheckHealthRequest{})
	if err != nil {
		return 0, nil, "", err
	}
	return int(answer.ExitCode), answer.Output, answer.Status, nil
}

// Exit is how a process ended.
type Exit struct {
	Code    int
	Signal  int
	Reason  string
	Time    time.Time
	Message string
	Kept    bool // see engine.Exit
}

// Wait returns when a process has ended, for "" when the container is stopped and recorded so.
func (c *Client) Wait(ctx context.Context, process string) (Exit, error) {
	answer, err := c.rpc.Wait(ctx, &supervisorv1.WaitRequest{ProcessId: process})
	return exitFrom(answer), err
}

// AskEnd is Wait for the end of the container, in two parts: when it returns the question is on its way, before all that is asked after it. So a supervisor that answers any of
// that will answer this one too, however soon its container ends. answer may be called once. The question is taken back when ctx ends.
func (c *Client) AskEnd(ctx context.Context) (answer func() (Exit, error)) {
	asked, err := c.calls.NewStream(ctx, &grpc.StreamDesc{}, supervisorv1.Supervisor_Wait_FullMethodName, c.patient())
	if err == nil {
		err = errors.Join(asked.SendMsg(&supervisorv1.WaitRequest{}), asked.CloseSend())
	}
	return func() (Exit, error) {
		if err != nil {
			return c.Wait(ctx, "")
		}
		var answer supervisorv1.WaitResponse
		err := asked.RecvMsg(&answer)
		return exitFrom(&answer), err
	}
}

// patient has a call wait until the supervisor serves, if that was launched here: its end ends the call. A new process may take long on a busy host, longer than gRPC tries to connect.
func (c *Client) patient() grpc.CallOption { return grpc.WaitForReady(c.daemon != nil) }

// exitFrom of no answer is no exit.
func exitFrom(answer *supervisorv1.WaitResponse) Exit {
	if answer.GetTime() == nil {
		return Exit{}
	}
	return Exit{Code: int(answer.Code), Signal: int(answer.Signal), Reason: answer.Reason, Time: answer.Time.AsTime(), Message: answer.Message, Kept: answer.Kept}
}

// ProcessRequest describes a further process.
type ProcessRequest struct {
	Args, Env        []string
	WorkingDir, User string
	Terminal         bool
	Width, Height    uint32
	Detached         bool // nobody opens its streams or deletes it
	NoInput          bool // nobody opens the stream of its input
	Ordered          bool // who opens its streams sees the order of what it writes to its two outputs
	Privileged       bool // it has all capabilities
}

func (p ProcessRequest) wire() *supervisorv1.CreateProcessRequest {
	return &supervisorv1.CreateProcessRequest{Args: p.Args, Env: p.Env, WorkingDir: p.WorkingDir, User: p.User, Terminal: p.Terminal, Width: p.Width, Height: p.Height,
		Detached: p.Detached, NoInput: p.NoInput, Ordered: p.Ordered, Privileged: p.Privileged}
}

// CreateProcess prepares a process, and returns its id.
func (c *Client) CreateProcess(ctx context.Context, p ProcessRequest) (string, error) {
	answer, err := c.rpc.CreateProcess(ctx, p.wire())
	if err != nil {
		return "", err
	}
	return answer.ProcessId, nil
}

// StartProcess runs a created process.
func (c *Client) StartProcess(ctx context.Context, process string) error {
	_, err := c.rpc.StartProcess(ctx, &supervisorv1.StartProcessRequest{ProcessId: process})
	return err
}

// DeleteProcess forgets a process.
func (c *Client) DeleteProcess(ctx context.Context, process string) error {
	_, err := c.rpc.DeleteProcess(ctx, &supervisorv1.DeleteProcessRequest{ProcessId: process})
	return err
}

// Resize sets the size of a process's terminal, in characters.
func (c *Client) Resize(ctx context.Context, process string, width, height uint32) error {
	_, err := c.rpc.Resize(ctx, &supervisorv1.ResizeRequest{ProcessId: process, Width: width, Height: height})
	return err
}

// Stream of a process.
type Stream = supervisorv1.StreamKind

// The streams.
const (
	Stdin  = supervisorv1.StreamKind_STREAM_KIND_STDIN
	Stdout = supervisorv1.StreamKind_STREAM_KIND_STDOUT
	Stderr = supervisorv1.StreamKind_STREAM_KIND_STDERR
)

// OpenStream connects to a stream of a process, "" being the first. The caller closes the connection.
func (c *Client) OpenStream(ctx context.Context, process string, kind Stream, closeStdin bool) (net.Conn, error) {
	return c.openStream(ctx, &supervisorv1.StreamRequest{ProcessId: process, Kind: kind, CloseStdin: closeStdin}, lifecycleAttach)
}

func (c *Client) openStream(ctx context.Context, request *supervisorv1.StreamRequest, op string) (net.Conn, error) {
	conn, err := c.dial(ctx, streamSocket)
	if err != nil {
		return nil, &fault.Error{Reason: fault.FailedPrecondition, Op: op, Cause: err}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	var answer supervisorv1.StreamResponse
	err = agent.WriteHeader(conn, request)
	if err == nil {
		err = agent.ReadHeader(conn, &answer)
	}
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(&fault.Error{Reason: fault.FailedPrecondition, Op: op, Cause: err}, conn.Close())
	}
	return conn, nil
}

const lifecycleAttach = string(lifecycle.Attach)
