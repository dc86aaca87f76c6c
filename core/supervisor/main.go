// Package supervisor is the process that looks after one running sandbox, and how others speak to it. There is one for each running sandbox, in a session of its
// own: it outlives the command that started it, and nothing outlives it. It holds the sandbox's life lock, so that everybody knows
// whether it lives; it records how the container is; it answers on a socket that only its user reaches.
//
// main.go is the process, supervision.go the life it looks after, server.go and streams.go what it answers, client.go the other end.
package supervisor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/core/containerlog"
	"github.com/vzctl/vzctl/core/daemon"
	"github.com/vzctl/vzctl/core/netd"
	"github.com/vzctl/vzctl/core/pluginhost"
	supervisorv1 "github.com/vzctl/vzctl/core/proto/vzctl/supervisor/v1"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/signals"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
	"github.com/vzctl/vzctl/sdk/rpc"
)

// Main is the process: "vzctl supervise --root DIR --run DIR SANDBOX", or in reserve "vzctl supervise --root DIR --reserve KEY --keep TIME" and as many bytes as the sandbox's id will have. It returns the process's exit code.
func Main(args []string) int {
	flags := flag.NewFlagSet("supervise", flag.ContinueOnError)
	root := flags.String("root", "", "directory of all that lasts")
	run := flags.String("run", "", "directory for sockets")
	verbose := flags.Bool("debug", false, "say more in the log")
	key := flags.String("reserve", "", "wait for a sandbox")
	keep := flags.Duration("keep", 0, "for how long")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 || *root == "" || (*run == "") == (*key == "") {
		fmt.Fprintln(os.Stderr, "vzctl supervise is started by vzctl itself")
		return 2
	}
	hypervisor := os.Getenv(hypervisorKey)
	_ = os.Unsetenv(hypervisorKey) // nobody who is started from here is to have it
	debug.SetGCPercent(startGarbage)
	level := hclog.Info
	if *verbose {
		level = hclog.Debug
	}
	var err error
	if *key != "" {
		err = superviseNext(*root, *key, hypervisor, args[len(args)-1], *keep, level)
	} else {
		err = supervise(*root, *run, hypervisor, flags.Arg(0), level)
	}
	if err != nil {
		return 1
	}
	return 0
}

// newLog is a supervisor's.
func newLog(output *daemon.Log, level hclog.Level) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "supervisor", Level: level, Output: output})
}

// hypervisorKey names the hypervisor plugin in the environment of a supervisor, which starts it before the records say that it is the one. In its arguments it would look like the plugin itself
// to who searches for that.
const hypervisorKey = "SUPERVISE_HYPERVISOR"

// A start makes some megabytes that are garbage after it. Collecting them on its way would take processors from the VM that is being started; so the first collection
// comes when it is over, and gives back what it took.
const (
	startGarbage = 400
	calm         = time.Second
)

func collect() {
	debug.SetGCPercent(100)
	debug.FreeOSMemory()
}

// stopTimeout is how long the container's process has to end when the supervisor itself is asked to, unless the container says otherwise.
const stopTimeout = 10 * time.Second

// supervise runs one sandbox from start to end. The hypervisor plugin that it will probably need is started first.
func supervise(root, run, hypervisor, sandboxID string, level hclog.Level) error {
	log := newLog(daemon.NewLog(store.Paths{Root: root}.SupervisorLog(sandboxID)), level)
	err := func() error {
		inherited, err := daemon.Inherit(socketCount)
		if err != nil {
			return err
		}
		plugin := startEarly(hypervisor, run, log)
		defer plugin.close()
		st, err := store.Open(root)
		if err != nil {
			return err
		}
		return superviseReleased(st, run, sandboxID, plugin, inherited, false, log)
	}()
	if err != nil {
		log.Error("the sandbox has failed", "error", err)
	}
	return err
}

// superviseReleased waits until it is to begin, and runs the sandbox. The plugin stays the caller's unless it is taken. hurry says that the next start will probably follow soon.
func superviseReleased(st *store.Store, run, sandboxID string, plugin *early, inherited *daemon.Inherited, hurry bool, log hclog.Logger) error {
	reaching := reachNetwork(st, sandboxID, log)
	defer reaching.close()
	if !inherited.Released() {
		plugin.close()
		reaching.close()
		return errors.Join(inherited.Listeners[0].Close(), inherited.Listeners[1].Close(), os.RemoveAll(run))
	}
	s, err := load(st, run, sandboxID, log)
	if err != nil {
		return err
	}
	s.early, s.reaching = plugin, reaching
	next := takeNextReserve()
	s.successor = newSuccessor(hurry, func() { s.reserveNext(next) })
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	return s.runs((*supervision).environment, inherited.Listeners[0], inherited.Listeners[1], asked)
}

// serve runs the sandbox once, and answers on both sockets until it has ended. A signal asks it to end.
func (s *supervision) serve(env sandbox.Environment, control, streams net.Listener, asked <-chan os.Signal) error {
	var (
		spec sandbox.Spec
		err  error
	)
	if !s.restarted { // of one that is, the spec is that of the moment in which it begins, see rest
		if spec, err = s.spec(s.sandbox); err != nil {
			return errors.Join(err, s.recordFailed(context.Background(), err))
		}
	}
	defer s.releaseVolumes()
	defer s.early.close()
	start := env.StartHypervisor
	env.StartHypervisor = func(ctx context.Context) (sandbox.Hypervisor, error) {
		if s.unmountable != nil { // said by the first step, and not before who asked for the start is there to learn of it
			_ = s.awaitRelease(ctx)
			return nil, s.unmountable
		}
		return start(ctx)
	}
	s.box = sandbox.New(spec, env)

	serving, stopServing := context.WithCancel(context.Background())
	defer stopServing()
	grpcServer := grpc.NewServer(rpc.ServerOptions(s.log)...)
	supervisorv1.RegisterSupervisorServer(grpcServer, &server{supervision: s})
	var running sync.WaitGroup
	running.Go(func() {
		if err := grpcServer.Serve(control); err != nil {
			s.log.Error("the control socket is broken", "error", err)
		}
	})
	running.Go(func() { s.serveStreams(serving, streams) })
	go s.telling()
	running.Go(func() { s.heed(serving, asked) })

	err = s.start()
	s.noteGreeting(err)
	if err == nil {
		err = s.attend(context.Background())
	}
	stopServing()
	endServer(grpcServer)
	s.successor.atItsEnd()
	err = errors.Join(err, streams.Close())
	running.Wait()
	s.clients.Wait()
	s.endTelling()
	if errors.Is(err, errStopped) {
		err = nil
	}
	return err
}

// answerTimeout bounds how long clients may take to get the answers that are on their way to them.
const answerTimeout = 10 * time.Second

// endServer lets answers on their way be given; no new questions are taken.
func endServer(s *grpc.Server) {
	late := time.AfterFunc(answerTimeout, s.Stop)
	defer late.Stop()
	s.GracefulStop()
}

// heed stops the container when the process is asked to end.
func (s *supervision) heed(ctx context.Context, asked <-chan os.Signal) {
	select {
	case <-asked:
		signal, timeout := wayToEnd(s.container.Process)
		if err := s.stop(context.Background(), signal, timeout); err != nil {
			s.log.Error("cannot stop the container", "error", err)
		}
	case <-ctx.Done():
	}
}

// wayToEnd is how a process wants to be asked to end, and how long that may take.
func wayToEnd(p store.Process) (signal int, timeout time.Duration) {
	signal, timeout = int(syscall.SIGTERM), stopTimeout
	if n, err := signals.Number(p.StopSignal); err == nil { // an image may say anything
		signal = n
	}
	if p.StopSeconds != nil {
		timeout = time.Duration(*p.StopSeconds) * time.Second
	}
	return signal, timeout
}

// load reads the records.
func load(st *store.Store, run, sandboxID string, log hclog.Logger) (*supervision, error) {
	b, err := st.GetSandbox(sandboxID)
	if err != nil {
		return nil, err
	}
	if len(b.Containers) != 1 {
		return nil, fmt.Errorf("sandbox %q has %d containers, this version runs one", b.ID, len(b.Containers))
	}
	c, err := st.Get(b.Containers[0])
	if err != nil {
		return nil, err
	}
	s := newSupervision(st, run, b, c, log)
	opening, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if s.output, err = containerlog.Create(opening, st.Paths().ContainerLog(c.ID), containerlog.Limits(c.Log)); err != nil {
		return nil, errors.Join(err, s.recordFailed(context.Background(), err))
	}
	return s, nil
}

func (s *supervision) environment() sandbox.Environment {
	return sandbox.Environment{
		StartHypervisor: s.startHypervisor,
		Attach:          s.attach,
		Dial: func(ctx context.Context, vsockPath string, copied bool) (sandbox.Guest, error) {
			s.successor.onItsWay()
			client, err := s.dial(ctx, vsockPath, copied)
			if err != nil {
				return nil, err
			}
			return client, nil
		},
		Log:      s.logOutput,
		Released: s.awaitRelease,
		Consume:  s.consume,
		OutOfMemory: func() {
			s.toldOOM.Store(true)
			s.tell(context.Background(), "oom", nil)
		},
		Unresponsive: s.unresponsive,
		Logger:       s.log,
	}
}

// logOutput keeps what the process writes.
func (s *supervision) logOutput(stream int, p []byte) error {
	_, err := s.output.Write(containerlog.Stream(stream), p)
	return err
}

// Hypervisor is a hypervisor plugin, which runs, as a sandbox uses it.
func Hypervisor(running *pluginhost.Running) sandbox.Hypervisor {
	return hypervisorProcess{hypervisor.NewClient(running.Conn(), running.Info()), running}
}

// hypervisorProcess is a hypervisor plugin in its process.
type hypervisorProcess struct {
	*hypervisor.Client // with all that is optional
	*pluginhost.Running
}

func (p hypervisorProcess) Info() sdk.Info { return p.Running.Info() }

func (s *supervision) startHypervisor(ctx context.Context) (sandbox.Hypervisor, error) {
	if running, ok, err := s.early.take(ctx, s.sandbox.Hypervisor); ok {
		return running, err
	}
	return launchHypervisor(ctx, s.sandbox.Hypervisor, s.run, s.log)
}

// spec of the sandbox, from its records, of which that of the sandbox is b. The volumes are the supervisor's after that.
func (s *supervision) spec(b store.Sandbox) (sandbox.Spec, error) {
	paths := s.store.Paths()
	ociSpec, err := os.ReadFile(paths.ContainerSpec(s.container.ID))
	if err != nil {
		return sandbox.Spec{}, err
	}
	var filter *sandbox.Filter
	if s.container.Process.Filtered {
		text, err := os.ReadFile(paths.ContainerFilter(s.container.ID))
		if err != nil {
			return sandbox.Spec{}, err
		}
		if filter, err = sandbox.ParseFilter(text); err != nil {
			return sandbox.Spec{}, err
		}
	}
	cache := paths.Cache(filepath.Base(s.sandbox.Hypervisor))
	for _, dir := range []string{paths.SandboxState(s.sandbox.ID), cache} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return sandbox.Spec{}, err
		}
	}
	spec := sandbox.Spec{
		ID: s.sandbox.ID, ContainerID: s.container.ID,
		Arch: b.Arch, CPUs: b.CPUs, MemoryBytes: b.MemoryBytes,
		Kernel: s.sandbox.Kernel, InitrdPath: s.sandbox.InitrdPath,
		Lower: s.container.Disks, Reads: programs(s.container.Process), ReadOnly: s.container.ReadOnly, Discarded: s.container.AutoRemove,
		Hostname: s.sandbox.Hostname, OCISpec: ociSpec, User: s.container.Process.User,
		Filter: filter, Groups: s.container.Process.Groups, Init: s.container.Process.Init,
		DNS:      network.DNS{Servers: s.container.Names.DNS, Search: s.container.Names.DNSSearch, Options: s.container.Names.DNSOptions},
		Terminal: s.container.Process.Terminal, StdinOpen: s.container.Process.StdinOpen,
		Network: s.sandbox.Network, Links: s.sandbox.Links, ConsolePath: paths.SandboxConsole(s.sandbox.ID),
		RuntimeDir: s.run, StateDir: paths.SandboxState(s.sandbox.ID), CacheDir: cache,
		HypervisorOptions: s.sandbox.HypervisorOptions, Nested: s.sandbox.Nested,
	}
	if spec.Sockets, err = joinedSockets(s.container); err != nil {
		return sandbox.Spec{}, err
	}
	if s.container.Run != nil {
		spec.Timed, spec.Apart = s.container.Run.Timed, s.container.Run.Apart
	}
	for _, h := range s.container.Names.Hosts {
		spec.Hosts = append(spec.Hosts, sandbox.Host{Address: h.Address.String(), Name: h.Name})
	}
	if s.container.Layer.Path != "" {
		spec.Layer, spec.Journal, spec.Mapped = &s.container.Layer, s.container.Journal, s.container.Mapped
	}
	spec.IOLimits = IOLimits(s.container.Mounts, s.container.Resources.IO)
	s.unmountable = s.addMounts(&spec)
	if e := s.sandbox.Endpoint; e != nil {
		spec.Wanted = netd.Wanted(*e)
	}
	if s.container.Run != nil && s.container.Run.Restore {
		return spec, s.addRestore(&spec)
	}
	return spec, nil
}
