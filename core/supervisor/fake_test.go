package supervisor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/events"
	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/store"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

// rig is a supervisor inside the test, over a VM that is none.
type rig struct {
	t      *testing.T
	store  *store.Store
	id     string // of the container
	box    string
	s      *supervision
	vm     *fakeVM
	client *Client
	asked  chan os.Signal
	done   chan error
}

// newRig makes a container that is starting, as the engine would leave it, and its supervisor. change may alter its record; nil: as it is.
func newRig(t *testing.T, change func(*store.Container)) *rig {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", plugintest.RuntimeDir(t))
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: st, id: store.NewID(), box: store.NewID(), asked: make(chan os.Signal, 1), done: make(chan error, 1)}
	ctx := t.Context()
	c := store.Container{ID: r.id, Name: "web", Sandbox: r.box, Created: time.Now(), Process: store.Process{Args: []string{"sh"}, WorkingDir: "/"}}
	if change != nil {
		change(&c)
	}
	held, err := st.Create(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	run, err := st.MakeSandboxRun(r.box)
	t.Cleanup(func() { _ = os.RemoveAll(run) }) // root's is not below XDG_RUNTIME_DIR
	if err != nil {
		t.Fatal(err)
	}
	if err := st.CreateSandbox(ctx, store.Sandbox{ID: r.box, Containers: []string{r.id}, Arch: "amd64", RuntimeDir: run}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(st.Paths().ContainerSpec(r.id), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = st.Update(ctx, r.id, func(c *store.Container) error {
		c.Run = &store.Run{Asked: time.Now()}
		return errors.Join(c.Advance(lifecycle.Made), c.Advance(lifecycle.Start))
	})
	if err = errors.Join(err, held.Close()); err != nil {
		t.Fatal(err)
	}
	if r.s, err = load(st, run, r.box, hclog.NewNullLogger()); err != nil {
		t.Fatal(err)
	}
	r.vm = newFakeVM(t, run)
	if r.client, err = Connect(st, r.box, r.id); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.client.Close() })
	return r
}

// serve runs the supervisor until it ends by itself.
func (r *rig) serve() {
	life, err := lock.Try(r.store.Paths().SandboxLife(r.box))
	if err != nil {
		r.t.Fatal(err)
	}
	var listeners [2]*net.UnixListener
	for i, name := range []string{controlSocket, streamSocket} {
		if listeners[i], err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(r.s.run, name), Net: "unix"}); err != nil {
			r.t.Fatal(err)
		}
	}
	environment := func(s *supervision) sandbox.Environment {
		env := r.vm.environment()
		env.Log, env.Released, env.Consume = s.logOutput, s.awaitRelease, s.consume
		return env
	}
	go func() {
		r.done <- errors.Join(r.s.runs(environment, listeners[0], listeners[1], r.asked), life.Close())
	}()
}

// start lets the process run, or fails the test.
func (r *rig) start() {
	r.t.Helper()
	r.serve()
	if err := r.client.Start(r.context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	r.t.Cleanup(cancel)
	return ctx
}

// await returns when something of an action has been told.
func (r *rig) await(action string) {
	r.t.Helper()
	seen := errors.New("seen")
	err := events.Log{Path: r.store.Paths().Events()}.Follow(r.context(), time.Unix(1, 0), func(e events.Event) error {
		if e.Action == action {
			return seen
		}
		return nil
	})
	if !errors.Is(err, seen) {
		r.t.Fatalf("no %q is told: %v", action, err)
	}
}

// told are the actions that have been told, in their order.
func (r *rig) told() (actions []string) {
	r.t.Helper()
	err := events.Log{Path: r.store.Paths().Events()}.Read(time.Unix(1, 0), func(e events.Event) error {
		actions = append(actions, e.Action)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return actions
}

// ended waits for the supervisor, and checks that it has left nothing that only it would take away.
func (r *rig) ended() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		if _, statErr := os.Stat(r.s.run); !errors.Is(statErr, os.ErrNotExist) {
			r.t.Errorf("the runtime directory is left: %v", statErr)
		}
		if left := r.vm.left(); len(left) > 0 {
			r.t.Errorf("left: %v", left)
		}
		return err
	case <-time.After(30 * time.Second):
		r.t.Fatal("the supervisor does not end")
		return nil
	}
}

func (r *rig) record() store.Container {
	r.t.Helper()
	c, err := r.store.Get(r.id)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// fakeVM is a hypervisor plugin, its VM and the guest in it.
type fakeVM struct {
	t     *testing.T
	vsock string

	mu      sync.Mutex
	alive   map[string]bool
	fail    map[string]error
	streams map[guestv1.StreamKind]net.Conn // the guest's ends
	opened  *sync.Cond                      // of one of these
	over    bool                            // the process has ended, and streams that are opened then have
	ignores map[int32]bool                  // signals
	onAdopt func()                          // called before the answer; nil: nothing
	onSave  func(ctx context.Context) error // called while the VM is saved; nil: nothing
	onClose func()                          // called before the plugin ends; nil: nothing
	frozen  bool
	calls   []string // that some test asks for
	exit    chan *guestv1.Exit
	exited  *sync.Once
	begun   chan struct{}                                    // has one for each start of the process
	answer  func(ctx context.Context) (*guestv1.Exit, error) // how further processes end; nil: there are none
	killed  int                                              // of these
	// brief answers for a further process that may be brief; nil: none is.
	brief  func(*guestv1.CreateProcessRequest) *guestv1.CreateProcessResponse
	size   uint64             // of the VM's memory
	limits []*guestv1.IoLimit // of the container's disks
}

func newFakeVM(t *testing.T, run string) *fakeVM {
	vm := &fakeVM{t: t, vsock: filepath.Join(run, "vsock"), alive: map[string]bool{}, fail: map[string]error{},
		streams: map[guestv1.StreamKind]net.Conn{}, ignores: map[int32]bool{}, exit: make(chan *guestv1.Exit, 1),
		exited: &sync.Once{}, begun: make(chan struct{}, 100)}
	vm.opened = sync.NewCond(&vm.mu)
	if err := vm.listen(); err != nil {
		t.Fatal(err)
	}
	return vm
}

// listen has the VM's socket be there.
func (vm *fakeVM) listen() error {
	if _, err := os.Stat(vm.vsock); err == nil {
		return nil
	}
	listener, err := net.Listen("unix", vm.vsock)
	if err == nil {
		vm.t.Cleanup(func() { listener.Close() })
	}
	return err
}

func (vm *fakeVM) environment() sandbox.Environment {
	return sandbox.Environment{
		StartHypervisor: func(context.Context) (sandbox.Hypervisor, error) {
			return fakePlugin{fakeVM: vm}, vm.set("plugin", true)
		},
		Dial: func(context.Context, string, bool) (sandbox.Guest, error) {
			return fakeGuest{fakeVM: vm}, vm.failure("dial")
		},
		Logger: hclog.NewNullLogger(),
	}
}

func (vm *fakeVM) failure(call string) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.fail[call]
}

func (vm *fakeVM) set(thing string, alive bool) error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if err := vm.fail[thing]; err != nil {
		return err
	}
	delete(vm.alive, thing)
	if alive {
		vm.alive[thing] = true
	}
	return nil
}

func (vm *fakeVM) left() map[string]bool {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.alive
}

// exits ends the process and its output.
func (vm *fakeVM) exits(exit *guestv1.Exit) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.exited.Do(func() {
		for _, conn := range vm.streams {
			_ = conn.Close()
		}
		vm.over = true
		vm.exit <- exit
	})
}

// stream returns the guest's end of one, once it is open.
func (vm *fakeVM) stream(kind guestv1.StreamKind) net.Conn {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	for vm.streams[kind] == nil {
		vm.opened.Wait()
	}
	return vm.streams[kind]
}

func (vm *fakeVM) memory() uint64 {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.size
}

func (vm *fakeVM) ioLimits() []*guestv1.IoLimit {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.limits
}

func (vm *fakeVM) asked(call string) bool {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return slices.Contains(vm.calls, call)
}

type fakePlugin struct {
	hypervisor.Hypervisor
	*fakeVM
}

func (p fakePlugin) Info() sdk.Info {
	return sdk.Info{Name: "fake", Capabilities: map[string][]string{hypervisor.CapabilityFeature: {hypervisor.FeaturePause, hypervisor.FeatureSnapshot}}}
}
func (p fakePlugin) Done() <-chan struct{} { return nil }
func (p fakePlugin) LastWords() string     { return "" }
func (p fakePlugin) Close(ctx context.Context) error { // ends its VMs, too
	if p.onClose != nil {
		p.onClose()
	}
	return errors.Join(p.set("running vm", false), p.set("vm", false), p.set("plugin", false))
}
func (p fakePlugin) Create(_ context.Context, _ string, s hypervisor.Spec) (hypervisor.VM, error) {
	p.mu.Lock()
	p.size = s.MemoryBytes
	p.mu.Unlock()
	return hypervisor.VM{ID: s.ID, VsockPath: p.vsock}, errors.Join(p.listen(), p.set("vm", true))
}
func (p fakePlugin) Start(context.Context, string) (hypervisor.VM, error) {
	return hypervisor.VM{VsockPath: p.vsock, Accelerator: "tcg"}, p.set("running vm", true)
}
func (p fakePlugin) Stop(context.Context, string, hypervisor.StopMode) (hypervisor.VM, error) {
	return hypervisor.VM{}, p.set("running vm", false)
}
func (p fakePlugin) Delete(context.Context, string, string) error { return p.set("vm", false) }
func (p fakePlugin) Watch(ctx context.Context, _ string, _ func(hypervisor.VM)) error {
	<-ctx.Done()
	return ctx.Err()
}

type fakeGuest struct {
	guestv1.AgentClient
	*fakeVM
}

func (g fakeGuest) Booted() (initAt, readyAt time.Duration)    { return 1, 2 }
func (g fakeGuest) Answers(context.Context) (time.Time, error) { return time.Time{}, nil }
func (g fakeGuest) Offers(string) bool                         { return true }
func (g fakeGuest) Close() error                               { return nil }

func (g fakeGuest) Adopt(context.Context, *guestv1.AdoptRequest, ...grpc.CallOption) (*guestv1.AdoptResponse, error) {
	if g.onAdopt != nil {
		g.onAdopt()
	}
	return &guestv1.AdoptResponse{}, g.failure("adopt")
}

func (g fakeGuest) CreateContainer(ctx context.Context, r *guestv1.CreateContainerRequest, _ ...grpc.CallOption) (*guestv1.CreateContainerResponse, error) {
	if r.Adopt != nil {
		if _, err := g.Adopt(ctx, r.Adopt); err != nil {
			return nil, err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits, g.over = r.IoLimits, false
	clear(g.streams)
	return &guestv1.CreateContainerResponse{}, nil
}

func (g fakeGuest) StartProcess(_ context.Context, r *guestv1.StartProcessRequest, _ ...grpc.CallOption) (*guestv1.StartProcessResponse, error) {
	if r.ProcessId != agent.InitProcess {
		return &guestv1.StartProcessResponse{}, g.failure("exec")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.fail["process"]; err != nil {
		return nil, err
	}
	g.exited = &sync.Once{}
	g.begun <- struct{}{}
	return &guestv1.StartProcessResponse{}, nil
}

func (g fakeGuest) WaitProcess(ctx context.Context, r *guestv1.WaitProcessRequest, _ ...grpc.CallOption) (*guestv1.WaitProcessResponse, error) {
	if r.ProcessId != agent.InitProcess {
		if g.answer != nil {
			exit, err := g.answer(ctx)
			return &guestv1.WaitProcessResponse{Exit: exit}, err
		}
		return nil, &fault.Error{Reason: fault.NotFound, Op: "find process", Subject: r.ProcessId}
	}
	select {
	case exit := <-g.exit:
		return &guestv1.WaitProcessResponse{Exit: exit}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g fakeGuest) SignalProcess(_ context.Context, r *guestv1.SignalProcessRequest, _ ...grpc.CallOption) (*guestv1.SignalProcessResponse, error) {
	if r.ProcessId != agent.InitProcess {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.killed++
		return &guestv1.SignalProcessResponse{}, nil
	}
	if !g.ignores[r.Signal] {
		g.exits(&guestv1.Exit{Code: 128 + r.Signal, Signal: r.Signal})
	}
	return &guestv1.SignalProcessResponse{}, nil
}

func (g fakeGuest) Shutdown(context.Context, *guestv1.ShutdownRequest, ...grpc.CallOption) (*guestv1.ShutdownResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, "shutdown")
	return &guestv1.ShutdownResponse{}, nil
}

func (g fakeGuest) OpenStream(_ context.Context, r *guestv1.StreamRequest) (net.Conn, error) {
	listener, err := net.Listen("unix", filepath.Join(plugintest.RuntimeDir(g.t), "s"))
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	near, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		return nil, err
	}
	far, err := listener.Accept()
	if err == nil && r.ProcessId != agent.InitProcess && r.Kind != guestv1.StreamKind_STREAM_KIND_FILES {
		return near, far.Close() // it writes nothing
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams[r.Kind] = far
	g.opened.Broadcast()
	if err == nil && g.over {
		err = far.Close()
	}
	return near, err
}

func (g fakeGuest) CreateProcess(_ context.Context, r *guestv1.CreateProcessRequest, _ ...grpc.CallOption) (*guestv1.CreateProcessResponse, error) {
	if r.Start {
		answer := &guestv1.CreateProcessResponse{}
		if g.brief != nil && r.BriefMilliseconds > 0 {
			answer = g.brief(r)
		}
		return answer, g.failure("exec")
	}
	return &guestv1.CreateProcessResponse{}, nil
}

func (g fakeGuest) DeleteProcess(context.Context, *guestv1.DeleteProcessRequest, ...grpc.CallOption) (*guestv1.DeleteProcessResponse, error) {
	return &guestv1.DeleteProcessResponse{}, nil
}
