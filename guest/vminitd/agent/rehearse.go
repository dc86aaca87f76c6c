package agent

import (
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/unary"
)

// rehearsalPatience bounds a call that goes nowhere but here; emulated machines are slow.
const rehearsalPatience = 10 * time.Second

// Rehearse goes through what every host asks for, so that what the libraries do once is done before there is a host: in a cloned VM, in its template. It
// leaves nothing behind but the loopback device, which is up.
func (a *Agent) Rehearse(server *grpc.Server) error {
	for _, message := range samples() {
		text, err := proto.Marshal(message)
		if err == nil {
			err = proto.Unmarshal(text, message.ProtoReflect().New().Interface())
		}
		if err != nil {
			return err
		}
	}
	a.mu.Lock()
	err := a.network.Prepare()
	a.mu.Unlock()
	if err != nil {
		return err
	}
	here, there := net.Pipe()
	closed := make(chan struct{})
	go func() {
		_ = server.Serve(&single{conn: noting{there, sync.OnceFunc(func() { close(closed) })}, done: make(chan struct{})})
	}()
	err = unary.Call(here, rehearsalPatience, guestv1.Agent_Hello_FullMethodName, &guestv1.HelloRequest{Version: "rehearsal", ProtocolMin: protocolMin, ProtocolMax: protocolMax})
	_ = here.Close()
	select { // taking a connection down is work, too
	case <-closed:
	case <-time.After(rehearsalPatience):
	}
	return err
}

// Close lets go of what an agent that served a rehearsal has of the kernel. The machine's own is never closed.
func (a *Agent) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.network.Close()
}

// noting is a connection that notes its end.
type noting struct {
	net.Conn
	ended func()
}

func (n noting) Close() error {
	n.ended()
	return n.Conn.Close()
}

// samples have all that a host may say before a container runs.
func samples() []proto.Message {
	const container, process = "container", "process"
	disk := &guestv1.Disk{Serial: "disk", FileSystem: "ext4"}
	return []proto.Message{
		&guestv1.AdoptRequest{Time: timestamppb.Now(), Entropy: []byte{1}, Hostname: "name", Dns: &guestv1.Dns{Servers: []string{"192.0.2.1"}},
			Interfaces: []*guestv1.Interface{{Mac: "mac", Mtu: 1, Addresses: []string{"address"}, Routes: []*guestv1.Route{{Destination: "net", Gateway: "gateway"}}}}},
		&guestv1.AdoptResponse{},
		&guestv1.CreateContainerRequest{ContainerId: container, Lower: []*guestv1.Disk{disk}, Upper: disk, OciSpec: []byte("{}"), User: "root", Hostname: "name"},
		&guestv1.CreateContainerResponse{},
		&guestv1.StreamRequest{ContainerId: container, ProcessId: process, Kind: guestv1.StreamKind_STREAM_KIND_STDOUT},
		&guestv1.StreamResponse{},
		&guestv1.StartProcessRequest{ContainerId: container, ProcessId: process},
		&guestv1.StartProcessResponse{Pid: 1},
		&guestv1.WaitProcessRequest{ContainerId: container, ProcessId: process},
		&guestv1.WaitProcessResponse{Exit: &guestv1.Exit{Code: 1, Time: timestamppb.Now()}},
	}
}

// single is a listener with one connection.
type single struct {
	conn net.Conn // nil once accepted
	done chan struct{}
}

func (s *single) Accept() (net.Conn, error) {
	if conn := s.conn; conn != nil {
		s.conn = nil
		return conn, nil
	}
	<-s.done
	return nil, net.ErrClosed
}

func (s *single) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

func (s *single) Close() error {
	close(s.done)
	return nil
}
