package hostile

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"

	"google.golang.org/grpc"

	"github.com/vzctl/vzctl/core/agent"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/serialmux"
)

// liar is a guest. It behaves well where nothing else is said.
type liar struct {
	guestv1.UnimplementedAgentServer
	hello   *guestv1.HelloResponse
	adopt   func() (*guestv1.AdoptResponse, error)
	create  func() (*guestv1.CreateContainerResponse, error)
	start   func() error
	wait    func(ctx context.Context, process string) (*guestv1.WaitProcessResponse, error)
	output  *guestv1.Output // told with the end of the first process, whether or not that was asked for
	list    func(grpc.ServerStreamingServer[guestv1.ListProcessesResponse]) error
	watch   func(grpc.ServerStreamingServer[guestv1.WatchResponse]) error
	streams func(conn net.Conn, request *guestv1.StreamRequest) // what becomes of a stream that was asked for; it owns the connection
	// options of its gRPC server.
	options []grpc.ServerOption
	// control is in place of the gRPC server.
	control func(conn net.Conn)
	// raw speaks on the serial port itself, after the greeting; then there is no server at all.
	raw func(pipe net.Conn)
	// dial is called once the guest is there, with the way to the host's ports.
	dial func(ctx context.Context, guest *serialmux.Guest)

	// opened is given the guest's end of the serial port.
	opened func(pipe net.Conn)

	exits chan *guestv1.Exit // how the init process ends
}

func (l *liar) Hello(context.Context, *guestv1.HelloRequest) (*guestv1.HelloResponse, error) {
	if l.hello != nil {
		return l.hello, nil
	}
	return &guestv1.HelloResponse{Version: "liar", ProtocolMin: 1, ProtocolMax: 1, Features: []string{"freeze", "sockets", "begin"}}, nil
}

func (l *liar) Adopt(context.Context, *guestv1.AdoptRequest) (*guestv1.AdoptResponse, error) {
	if l.adopt != nil {
		return l.adopt()
	}
	return &guestv1.AdoptResponse{}, nil
}

func (l *liar) CreateContainer(ctx context.Context, r *guestv1.CreateContainerRequest) (*guestv1.CreateContainerResponse, error) {
	if r.Adopt != nil {
		if _, err := l.Adopt(ctx, r.Adopt); err != nil {
			return nil, err
		}
	}
	if l.create != nil {
		return l.create()
	}
	return &guestv1.CreateContainerResponse{}, nil
}

func (l *liar) CreateProcess(context.Context, *guestv1.CreateProcessRequest) (*guestv1.CreateProcessResponse, error) {
	return &guestv1.CreateProcessResponse{}, nil
}

func (l *liar) DeleteProcess(context.Context, *guestv1.DeleteProcessRequest) (*guestv1.DeleteProcessResponse, error) {
	return &guestv1.DeleteProcessResponse{}, nil
}

func (l *liar) StartProcess(context.Context, *guestv1.StartProcessRequest) (*guestv1.StartProcessResponse, error) {
	if l.start != nil {
		return &guestv1.StartProcessResponse{}, l.start()
	}
	return &guestv1.StartProcessResponse{Pid: 1}, nil
}

func (l *liar) RunProcess(r *guestv1.RunProcessRequest, stream grpc.ServerStreamingServer[guestv1.RunProcessResponse]) error {
	started, err := l.StartProcess(stream.Context(), &guestv1.StartProcessRequest{ContainerId: r.ContainerId, ProcessId: r.ProcessId})
	if err != nil {
		return err
	}
	if err := stream.Send(&guestv1.RunProcessResponse{Of: &guestv1.RunProcessResponse_Started{Started: started}}); err != nil {
		return err
	}
	ended, err := l.WaitProcess(stream.Context(), &guestv1.WaitProcessRequest{ContainerId: r.ContainerId, ProcessId: r.ProcessId})
	if err != nil {
		return err
	}
	return stream.Send(&guestv1.RunProcessResponse{Of: &guestv1.RunProcessResponse_Exit{Exit: ended.Exit}, Output: l.output})
}

func (l *liar) WaitProcess(ctx context.Context, r *guestv1.WaitProcessRequest) (*guestv1.WaitProcessResponse, error) {
	if l.wait != nil {
		return l.wait(ctx, r.ProcessId)
	}
	select {
	case exit := <-l.exits:
		return &guestv1.WaitProcessResponse{Exit: exit}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *liar) SignalProcess(_ context.Context, r *guestv1.SignalProcessRequest) (*guestv1.SignalProcessResponse, error) {
	select {
	case l.exits <- &guestv1.Exit{Code: 128 + r.Signal, Signal: r.Signal}:
	default:
	}
	return &guestv1.SignalProcessResponse{}, nil
}

func (l *liar) ListProcesses(_ *guestv1.ListProcessesRequest, stream grpc.ServerStreamingServer[guestv1.ListProcessesResponse]) error {
	return l.list(stream)
}

func (l *liar) Watch(_ *guestv1.WatchRequest, stream grpc.ServerStreamingServer[guestv1.WatchResponse]) error {
	if l.watch != nil {
		return l.watch(stream)
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

func (l *liar) Shutdown(context.Context, *guestv1.ShutdownRequest) (*guestv1.ShutdownResponse, error) {
	return &guestv1.ShutdownResponse{}, nil
}

// serve is the guest, until the pipe ends.
func (l *liar) serve(ctx context.Context, pipe net.Conn) {
	if l.raw != nil {
		if greet(pipe) == nil {
			l.raw(pipe)
		}
		return
	}
	if l.opened != nil {
		l.opened(pipe)
	}
	once := make(chan struct{}, 1)
	once <- struct{}{}
	guest := serialmux.NewGuest(func(ctx context.Context) (io.ReadWriteCloser, error) {
		select {
		case <-once:
			return pipe, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	control, controlErr := guest.Listen(agent.AgentPort)
	streams, streamsErr := guest.Listen(agent.StreamPort)
	if errors.Join(controlErr, streamsErr) != nil {
		return
	}
	var work sync.WaitGroup
	defer work.Wait()
	defer streams.Close()
	defer control.Close()
	if l.control != nil {
		work.Go(func() { accept(control, l.control) })
	} else {
		server := grpc.NewServer(l.options...)
		guestv1.RegisterAgentServer(server, l)
		work.Go(func() { _ = server.Serve(control) })
		defer server.Stop()
	}
	work.Go(func() {
		accept(streams, func(conn net.Conn) {
			var request guestv1.StreamRequest
			if agent.ReadHeader(conn, &request) != nil {
				conn.Close()
				return
			}
			if l.streams != nil {
				l.streams(conn, &request)
				return
			}
			quiet(conn, &request)
		})
	})
	if l.dial != nil {
		work.Go(func() { l.dial(ctx, guest) })
	}
	_ = guest.Serve(ctx)
}

// quiet is a stream of a process that writes nothing, and reads all, until it ends.
func quiet(conn net.Conn, request *guestv1.StreamRequest) {
	defer conn.Close()
	if agent.WriteHeader(conn, &guestv1.StreamResponse{}) != nil {
		return
	}
	if request.Kind != guestv1.StreamKind_STREAM_KIND_STDIN {
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}
	_, _ = io.Copy(io.Discard, conn)
}

func accept(l net.Listener, handle func(net.Conn)) {
	var work sync.WaitGroup
	defer work.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		work.Go(func() { handle(conn) })
	}
}

// greet is the guest's half of the greeting, see hello.go of package serialmux.
func greet(pipe net.Conn) error {
	const nonce = 16
	in := bufio.NewReaderSize(pipe, 16)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		theirs := make([]byte, nonce)
		if _, err := io.ReadFull(in, theirs); err != nil {
			return err
		}
		switch {
		case strings.HasSuffix(line, "VZMUXH1\n"):
			if _, err := pipe.Write(append(append([]byte("VZMUXG1\n"), theirs...), make([]byte, nonce)...)); err != nil {
				return err
			}
		case strings.HasSuffix(line, "VZMUXR1\n"):
			return nil
		}
	}
}
