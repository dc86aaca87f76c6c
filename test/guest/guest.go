package guest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vzctl/vzctl/core/runtimespec"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/serialmux"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Guest is a booted VM with a client of its agent.
type Guest struct {
	*VM
	guestv1.AgentClient
	t testing.TB
}

// Start boots a VM and says Hello and Adopt.
func Start(t testing.TB, o Options) *Guest {
	t.Helper()
	g := Connect(t, Boot(t, o))
	if _, err := g.Hello(t.Context(), &guestv1.HelloRequest{Version: "test", ProtocolMin: 1, ProtocolMax: 1}); err != nil {
		t.Fatal(err)
	}
	if err := g.adopt(); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *Guest) adopt() error {
	entropy := make([]byte, 64)
	_, _ = rand.Read(entropy) // never fails
	_, err := g.Adopt(g.t.Context(), &guestv1.AdoptRequest{Entropy: entropy, Time: timestamppb.Now(), Hostname: "machine"})
	return err
}

// Connect makes a client of the VM's agent.
func Connect(t testing.TB, vm *VM) *Guest {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///guest", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return vm.Session.Dial(ctx, 1024) }),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			return fault.FromGRPC(invoke(ctx, method, request, reply, cc, opts...))
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &Guest{VM: vm, AgentClient: guestv1.NewAgentClient(conn), t: t}
}

// Container describes one.
type Container struct {
	ID       string
	Args     []string
	User     string
	Cwd      string
	Env      []string
	Terminal bool
	ReadOnly bool
	NoLayer  bool
	Edit     func(*specs.Spec)
	Ask      func(*guestv1.CreateContainerRequest)
}

// Create creates a container of disk rootfs0 and, unless NoLayer, layer, from the spec that the host makes.
func (g *Guest) Create(c Container) error {
	g.t.Helper()
	spec, err := runtimespec.Build(runtimespec.Input{ContainerID: c.ID, Args: c.Args, Env: c.Env, WorkingDir: c.Cwd, Hostname: "box",
		Terminal: c.Terminal, ReadOnly: c.ReadOnly})
	if err != nil {
		g.t.Fatal(err)
	}
	if c.Edit != nil {
		c.Edit(spec)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		g.t.Fatal(err)
	}
	request := &guestv1.CreateContainerRequest{ContainerId: c.ID, Lower: []*guestv1.Disk{{Serial: "rootfs0", FileSystem: "ext4"}},
		OciSpec: text, User: c.User, Hostname: "box", ReadOnly: c.ReadOnly}
	if !c.NoLayer {
		request.Upper = &guestv1.Disk{Serial: "layer", FileSystem: "ext4"}
	}
	if c.Ask != nil {
		c.Ask(request)
	}
	_, err = g.CreateContainer(g.t.Context(), request)
	return err
}

// Result is how a process ended and what it wrote.
type Result struct {
	Exit           *guestv1.Exit
	Stdout, Stderr string
}

// Start starts a created process.
func (g *Guest) Start(container, process string) error {
	_, err := g.StartProcess(g.t.Context(), &guestv1.StartProcessRequest{ContainerId: container, ProcessId: process})
	return err
}

// Wait waits for a process.
func (g *Guest) Wait(container, process string) *guestv1.Exit {
	g.t.Helper()
	r, err := g.WaitProcess(g.t.Context(), &guestv1.WaitProcessRequest{ContainerId: container, ProcessId: process})
	if err != nil {
		g.t.Fatal(err)
	}
	return r.Exit
}

// Finish starts a process with the given input, and gathers what comes of it.
func (g *Guest) Finish(container, process string, input io.Reader) (Result, error) {
	if err := g.Start(container, process); err != nil {
		return Result{}, err
	}
	stdin, err := g.Open(container, process, guestv1.StreamKind_STREAM_KIND_STDIN)
	if err != nil {
		return Result{}, err
	}
	var feeding sync.WaitGroup
	feeding.Go(func() {
		if input != nil {
			_, _ = io.Copy(stdin, input) // a process need not read it all
		}
		_ = stdin.CloseWrite()
	})
	var outputs [2]bytes.Buffer
	var errs [2]error
	var reading sync.WaitGroup
	for i, kind := range []guestv1.StreamKind{guestv1.StreamKind_STREAM_KIND_STDOUT, guestv1.StreamKind_STREAM_KIND_STDERR} {
		reading.Go(func() {
			var conn *serialmux.Conn
			if conn, errs[i] = g.Open(container, process, kind); errs[i] == nil {
				_, errs[i] = io.Copy(&outputs[i], conn)
				_ = conn.Close()
			}
		})
	}
	reading.Wait()
	r, err := g.WaitProcess(g.t.Context(), &guestv1.WaitProcessRequest{ContainerId: container, ProcessId: process})
	_ = stdin.Close()
	feeding.Wait()
	if err := errors.Join(append(errs[:], err)...); err != nil {
		return Result{}, err
	}
	return Result{Exit: r.Exit, Stdout: outputs[0].String(), Stderr: outputs[1].String()}, nil
}

// Run runs a whole container and deletes it.
func (g *Guest) Run(c Container, input io.Reader) (Result, error) {
	g.t.Helper()
	if err := g.Create(c); err != nil {
		return Result{}, err
	}
	result, err := g.Finish(c.ID, "init", input)
	if _, deleteErr := g.DeleteContainer(g.t.Context(), &guestv1.DeleteContainerRequest{ContainerId: c.ID}); deleteErr != nil {
		g.t.Errorf("delete: %v", deleteErr)
	}
	return result, err
}

// Exec runs another process in a container.
func (g *Guest) Exec(container, process string, p specs.Process, user string) (Result, error) {
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	text, err := json.Marshal(p)
	if err != nil {
		return Result{}, err
	}
	_, err = g.CreateProcess(g.t.Context(), &guestv1.CreateProcessRequest{ContainerId: container, ProcessId: process, OciProcess: text, User: user})
	if err != nil {
		return Result{}, err
	}
	result, err := g.Finish(container, process, nil)
	_, deleteErr := g.DeleteProcess(g.t.Context(), &guestv1.DeleteProcessRequest{ContainerId: container, ProcessId: process})
	if err == nil {
		err = deleteErr
	}
	return result, err
}

// Open opens a stream.
func (g *Guest) Open(container, process string, kind guestv1.StreamKind) (*serialmux.Conn, error) {
	conn, err := g.Session.Dial(g.t.Context(), 1025)
	if err != nil {
		return nil, err
	}
	body, err := proto.Marshal(&guestv1.StreamRequest{ContainerId: container, ProcessId: process, Kind: kind})
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	var response guestv1.StreamResponse
	if err := proto.Unmarshal(body, &response); err != nil {
		return nil, err
	}
	if response.Error != "" {
		_ = conn.Close()
		return nil, errors.New(response.Error)
	}
	return conn, nil
}
