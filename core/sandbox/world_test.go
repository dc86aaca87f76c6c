package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
	"github.com/vzctl/vzctl/sdk/plugintest"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// world is all that a sandbox touches, in memory. It fails where it is told to and knows what is left.
type world struct {
	t    *testing.T
	fail map[string]error // by call

	mu      sync.Mutex
	left    []string // what exists now: "plugin", "lease", "vm", "running", "agent", "stream"
	calls   []string
	ended   chan *guestv1.Exit    // how the init process ends
	vmEnds  chan *hypervisor.Exit // how the VM ends by itself
	log     []byte
	process map[guestv1.StreamKind]net.Conn // the guest's ends
	over    chan struct{}                   // closed when the process has ended; streams that are opened then have
	unread  map[guestv1.StreamKind]string   // this yet
	output  *guestv1.Output                 // what the process's end tells
	opening func(context.Context) error     // called when a stream is to be opened; nil: it is
	shut    chan struct{}
	dir     string // with the VM's socket
	vsock   string // as the plugin tells it
	answers func(ctx context.Context) error
	clock   func() time.Time // of the guest
	events  chan *guestv1.WatchResponse
	set     chan time.Time // to what it was set by an Adopt of the time alone
	link    network.Link
	probing probing
	pid     int // of the VM's process

	patience time.Duration // with which the guest was asked to shut down
	exec     map[string]*execution
	old      bool                           // the guest has no optional abilities
	brief    *guestv1.CreateProcessResponse // what the guest answers for a process that may be brief
	forget   chan struct{}                  // closed when the guest may forget processes; nil: any time
	sockets  []*guestv1.Socket
	phases   []*guestv1.Phase // what the guest says of CreateContainer
	cloned   bool             // the VM is a copy
	copied   bool             // the guest was dialled as that of a copy
	noInput  bool             // the guest was told that the init process has none
	closing  chan struct{}    // has one once the plugin is to end, if it is to wait for
	closed   chan struct{}    // this; nil: it ends at once
	detach   chan struct{}    // closed when the lease may be given back; nil: any time

	unresponsive func(why string)
}

func newWorld(t *testing.T) *world {
	dir := plugintest.RuntimeDir(t)
	w := &world{t: t, fail: map[string]error{}, over: make(chan struct{}), ended: make(chan *guestv1.Exit, 1), vmEnds: make(chan *hypervisor.Exit, 1),
		process: map[guestv1.StreamKind]net.Conn{}, shut: make(chan struct{}), dir: dir, vsock: filepath.Join(dir, "vsock"),
		answers: func(context.Context) error { return nil }, clock: time.Now, events: make(chan *guestv1.WatchResponse), set: make(chan time.Time, 16), probing: defaultProbing, exec: map[string]*execution{},
		link: network.Link{UnixDatagram: &network.UnixDatagram{VMPath: filepath.Join(dir, "vm"), NetworkPath: filepath.Join(dir, "net")}}}
	listener, err := net.Listen("unix", w.vsock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return w
}

func (w *world) do(call string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, call)
	return w.fail[call]
}

func (w *world) made(thing string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = append(w.left, thing)
}

func (w *world) gone(thing string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.left, thing); i >= 0 {
		w.left = slices.Delete(w.left, i, i+1)
	}
}

func (w *world) remains() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.left)
}

func (w *world) environment() Environment {
	return Environment{
		StartHypervisor: func(context.Context) (Hypervisor, error) {
			if err := w.do("plugin"); err != nil {
				return nil, err
			}
			w.made("plugin")
			return &machine{world: w, done: make(chan struct{})}, nil
		},
		Attach: func(_ context.Context, r network.AttachRequest) (Lease, error) {
			if err := w.do("attach"); err != nil {
				return nil, err
			}
			w.made("lease")
			return lease{w}, nil
		},
		Dial: func(_ context.Context, _ string, copied bool) (Guest, error) {
			w.copied = copied
			if err := w.do("dial"); err != nil {
				return nil, err
			}
			w.made("agent")
			return &guest{world: w}, nil
		},
		Log: func(_ int, p []byte) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.log = append(w.log, p...)
			return nil
		},
		Released:     func(context.Context) error { return w.do("release") },
		Unresponsive: w.unresponsive,
		Logger:       hclog.NewNullLogger(),
	}
}

func (w *world) spec() Spec {
	return Spec{ID: "box", ContainerID: "web", Network: "net", Hostname: "web", StdinOpen: true, RuntimeDir: w.dir,
		Lower: []rootfs.Disk{{Path: "/base", FileSystem: "ext4", ReadOnly: true}}, Layer: &rootfs.Disk{Path: "/layer", FileSystem: "ext4"}}
}

// start brings a sandbox up, or fails the test.
func (w *world) start() *Sandbox {
	s := New(w.spec(), w.environment())
	s.probing = w.probing
	if err := s.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) wait(s *Sandbox) Outcome {
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	outcome, err := s.Wait(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return outcome
}

type lease struct{ *world }

func (l lease) Endpoint() network.Endpoint {
	return network.Endpoint{Link: l.link, MAC: "02:00:00:00:00:01", MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}}
}

func (l lease) Close(context.Context) error {
	if l.detach != nil {
		<-l.detach
	}
	l.gone("lease")
	return l.do("detach")
}

// machine is the hypervisor plugin.
type machine struct {
	hypervisor.Hypervisor
	*world
	done chan struct{}
}

func (m *machine) Info() sdk.Info {
	return sdk.Info{Capabilities: map[string][]string{hypervisor.CapabilityLink: {network.LinkUnixDatagram}, hypervisor.CapabilityFeature: {hypervisor.FeaturePause}}}
}
func (m *machine) Pause(context.Context, string) error  { return m.do("pause") }
func (m *machine) Resume(context.Context, string) error { return m.do("resume") }

func (m *machine) Done() <-chan struct{} { return m.done }
func (m *machine) LastWords() string     { return "killed" }

// Close ends the VMs of the plugin as well.
func (m *machine) Close(context.Context) error {
	if m.closed != nil {
		m.closing <- struct{}{}
		<-m.closed
	}
	for _, thing := range []string{"running", "vm", "plugin"} {
		m.gone(thing)
	}
	return nil
}

func (m *machine) Create(_ context.Context, _ string, spec hypervisor.Spec) (hypervisor.VM, error) {
	if err := m.do("create vm"); err != nil {
		return hypervisor.VM{}, err
	}
	m.made("vm")
	return hypervisor.VM{ID: spec.ID, State: hypervisor.Created, VsockPath: m.vsock}, nil
}

func (m *machine) Start(context.Context, string) (hypervisor.VM, error) {
	if err := m.do("start vm"); err != nil {
		return hypervisor.VM{}, err
	}
	m.made("running")
	return hypervisor.VM{State: hypervisor.Running, VsockPath: m.vsock, PID: int64(m.pid), Cloned: m.cloned}, nil
}

func (m *machine) Stop(_ context.Context, _ string, mode hypervisor.StopMode) (hypervisor.VM, error) {
	m.gone("running")
	return hypervisor.VM{State: hypervisor.Stopped}, m.do("stop vm " + string(mode))
}

func (m *machine) Delete(context.Context, string, string) error {
	m.gone("vm")
	return m.do("delete vm")
}

func (m *machine) Watch(ctx context.Context, _ string, event func(hypervisor.VM)) error {
	event(hypervisor.VM{State: hypervisor.Running})
	select {
	case exit := <-m.vmEnds:
		m.gone("running")
		event(hypervisor.VM{State: hypervisor.Stopped, Exit: exit})
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// guest is the agent.
type guest struct {
	guestv1.AgentClient
	*world
}

func (g *guest) Booted() (initAt, answeredAt time.Duration) { return time.Second, 2 * time.Second }
func (g *guest) Answers(ctx context.Context) (time.Time, error) {
	return g.clock(), g.answers(ctx)
}

func (g *guest) Offers(string) bool { return !g.old }

func (g *guest) Close() error { g.gone("agent"); return nil }

func (g *guest) Watch(ctx context.Context, _ *guestv1.WatchRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[guestv1.WatchResponse], error) {
	return &told{ctx: ctx, events: g.events}, g.do("watch")
}

// told is what the guest tells by itself.
type told struct {
	grpc.ClientStream
	ctx    context.Context
	events <-chan *guestv1.WatchResponse
}

func (e *told) Recv() (*guestv1.WatchResponse, error) {
	select {
	case event := <-e.events:
		if event == nil {
			return nil, io.ErrUnexpectedEOF // the connection is lost
		}
		return event, nil
	case <-e.ctx.Done():
		return nil, e.ctx.Err()
	}
}

func (g *guest) UpdateContainer(_ context.Context, r *guestv1.UpdateContainerRequest, _ ...grpc.CallOption) (*guestv1.UpdateContainerResponse, error) {
	return &guestv1.UpdateContainerResponse{}, g.do("update " + string(r.OciResources))
}

func (g *guest) Adopt(_ context.Context, r *guestv1.AdoptRequest, _ ...grpc.CallOption) (*guestv1.AdoptResponse, error) {
	if r.Time != nil && len(r.Entropy) == 0 {
		g.set <- r.Time.AsTime()
		return &guestv1.AdoptResponse{}, g.do("set clock")
	}
	connected := len(r.Interfaces) == 1 && r.Interfaces[0].Addresses[0] == "10.0.0.2/24" || !slices.Contains(g.calls, "attach") && len(r.Interfaces) == 0
	if len(r.Entropy) < 32 || r.Time == nil || !connected {
		return nil, errors.New("the identity is not complete")
	}
	return &guestv1.AdoptResponse{}, g.do("adopt")
}

func (g *guest) CreateContainer(ctx context.Context, r *guestv1.CreateContainerRequest, _ ...grpc.CallOption) (*guestv1.CreateContainerResponse, error) {
	if r.Lower[0].Serial != "rootfs0" || r.Upper.Serial != "layer" {
		return nil, errors.New("the disks are not named")
	}
	g.sockets = r.Sockets
	response := &guestv1.CreateContainerResponse{}
	if r.Adopt != nil {
		if _, err := g.Adopt(ctx, r.Adopt); err != nil {
			return nil, err
		}
	}
	if r.ReportPhases {
		response.Phases = g.phases
	}
	g.noInput = r.InputEnded
	return response, g.do("create container")
}

func (g *guest) StartProcess(_ context.Context, r *guestv1.StartProcessRequest, _ ...grpc.CallOption) (*guestv1.StartProcessResponse, error) {
	if r.ProcessId != "init" {
		return &guestv1.StartProcessResponse{}, g.do("start exec")
	}
	return &guestv1.StartProcessResponse{}, g.do("start process")
}

func (g *guest) WaitProcess(ctx context.Context, r *guestv1.WaitProcessRequest, _ ...grpc.CallOption) (*guestv1.WaitProcessResponse, error) {
	if r.ProcessId != "init" {
		return g.execution(r.ProcessId).wait(ctx)
	}
	if err := g.do("wait"); err != nil {
		return nil, err
	}
	select {
	case exit := <-g.ended:
		return &guestv1.WaitProcessResponse{Exit: exit}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *guest) SignalProcess(_ context.Context, r *guestv1.SignalProcessRequest, _ ...grpc.CallOption) (*guestv1.SignalProcessResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, "signal")
	if process := g.exec[r.ProcessId]; process != nil {
		process.exits()
		return &guestv1.SignalProcessResponse{}, nil
	}
	if r.Signal == sigkill {
		g.end(&guestv1.Exit{Code: 137, Signal: sigkill})
	}
	return &guestv1.SignalProcessResponse{}, nil
}

// end ends the process, whose output ends with it. g.mu is held.
func (w *world) end(exit *guestv1.Exit) {
	select {
	case <-w.over:
	default:
		close(w.over)
	}
	for _, conn := range w.process {
		_ = conn.Close()
	}
	select {
	case w.ended <- exit:
	default: // it has ended already
	}
}

func (w *world) exits(exit *guestv1.Exit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end(exit)
}

func (g *guest) Shutdown(ctx context.Context, _ *guestv1.ShutdownRequest, _ ...grpc.CallOption) (*guestv1.ShutdownResponse, error) {
	if deadline, ok := ctx.Deadline(); ok {
		g.patience = time.Until(deadline)
	}
	return &guestv1.ShutdownResponse{}, g.do("shutdown")
}

func (g *guest) OpenStream(ctx context.Context, r *guestv1.StreamRequest) (net.Conn, error) {
	if err := g.do("stream"); err != nil {
		return nil, err
	}
	if g.opening != nil {
		if err := g.opening(ctx); err != nil {
			return nil, err
		}
	}
	near, far := pair(g.t)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case r.SocketId != "":
		g.process[r.Kind] = far
	case r.ProcessId != "init":
		g.exec[r.ProcessId].streams[r.Kind] = far
	default:
		g.process[r.Kind] = far
		select {
		case <-g.over:
			if _, err := io.WriteString(far, g.unread[r.Kind]); err != nil {
				return nil, err
			}
			_ = far.Close()
		default:
		}
	}
	return near, nil
}

// pair returns the two ends of a connection that can be half-closed.
func pair(t *testing.T) (near, far net.Conn) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if near, err = net.Dial("unix", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}
