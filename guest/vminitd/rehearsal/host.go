package rehearsal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/serialmux"
	"github.com/vzctl/vzctl/guest/vminitd/agent"
	"github.com/vzctl/vzctl/guest/vminitd/container"
)

// host is a host as the guest sees it, at the other end of a socket in place of the serial port, and the guest's side of that: an agent of its own over the machine's runtime.
type host struct {
	*client
	session *serialmux.Session

	guest  *agent.Agent
	server *grpc.Server
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// connect makes both sides and says the first words. The caller closes the result.
func connect(ctx context.Context, version string, started time.Duration, runtime *container.Runtime) (_ *host, err error) {
	here, there, err := pair()
	if err != nil {
		return nil, err
	}
	h := &host{guest: agent.New(version, started, runtime)}
	h.server = h.guest.Server()
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.cancel = cancel
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	pipes := make(chan io.ReadWriteCloser, 1)
	pipes <- there
	mux := serialmux.NewGuest(func(ctx context.Context) (io.ReadWriteCloser, error) {
		select {
		case pipe := <-pipes:
			return pipe, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	control, err := mux.Listen(agent.Port)
	if err != nil {
		return nil, errors.Join(err, here.Close(), there.Close())
	}
	streams, err := mux.Listen(agent.StreamPort)
	if err != nil {
		return nil, errors.Join(err, here.Close(), there.Close())
	}
	// Each ends with the host, if not in an error that is the host's as well.
	h.work.Go(func() { _ = h.server.Serve(control) })
	h.work.Go(func() { _ = h.guest.ServeStreams(serving, streams) })
	h.work.Go(func() { _ = mux.Serve(serving) })
	if h.session, err = serialmux.Host(ctx, here, nil); err != nil {
		return nil, err
	}
	conn, err := h.session.Dial(ctx, agent.Port)
	if err != nil {
		return nil, err
	}
	h.client, err = newClient(conn)
	return h, err
}

// pair returns the two ends of a connected pipe.
func pair() (here, there io.ReadWriteCloser, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	end := func(fd int) io.ReadWriteCloser { return serialmux.FromFile(os.NewFile(uintptr(fd), "rehearsal")) }
	return end(fds[0]), end(fds[1]), nil
}

// leaving is how long calls that are under way may take to notice that the host has gone.
const leaving = 5 * time.Second

// close ends both sides, as they end after Shutdown, and waits for it.
func (h *host) close() error {
	impatient := time.AfterFunc(leaving, h.server.Stop)
	defer impatient.Stop()
	left := make(chan struct{})
	go func() {
		defer close(left)
		h.server.GracefulStop()
	}()
	if h.client != nil {
		h.client.close()
	}
	if h.session != nil {
		_ = h.session.Close()
	}
	h.cancel()
	<-left
	h.work.Wait()
	return h.guest.Close()
}

// open opens a stream of a process.
func (h *host) open(ctx context.Context, process string, kind guestv1.StreamKind) (_ *serialmux.Conn, err error) {
	conn, err := h.session.Dial(ctx, agent.StreamPort)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open %v of process %s: %w", kind, process, err), conn.Close())
		}
	}()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // fails only on a connection that is gone
	}
	var response guestv1.StreamResponse
	if err := ask(conn, &guestv1.StreamRequest{ContainerId: containerID, ProcessId: process, Kind: kind}, &response); err != nil {
		return nil, err
	}
	if response.Error != "" {
		return nil, errors.New(response.Error)
	}
	return conn, nil
}

// ask sends a message behind its length, and reads the answer.
func ask(conn io.ReadWriter, request, answer proto.Message) error {
	body, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	body = make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		return err
	}
	return proto.Unmarshal(body, answer)
}

// launch creates a process as a host does, over a stream.
func (h *host) launch(ctx context.Context, request *guestv1.CreateProcessRequest) (*guestv1.CreateProcessResponse, error) {
	conn, err := h.open(ctx, "", guestv1.StreamKind_STREAM_KIND_LAUNCH)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	var result guestv1.LaunchResult
	if err := ask(conn, request, &result); err != nil {
		return nil, err
	}
	if len(result.Error) > 0 {
		return nil, fmt.Errorf("create process %s: %q", request.ProcessId, result.Error)
	}
	return result.GetCreated(), nil
}

// streams are those of a process.
type streams struct{ stdin, stdout, stderr *serialmux.Conn }

// openStreams opens them all at once, as a host does; the input only if it is wanted.
func (h *host) openStreams(ctx context.Context, process string, input bool) (*streams, error) {
	var s streams
	wanted := map[guestv1.StreamKind]**serialmux.Conn{
		guestv1.StreamKind_STREAM_KIND_STDOUT: &s.stdout,
		guestv1.StreamKind_STREAM_KIND_STDERR: &s.stderr,
	}
	if input {
		wanted[guestv1.StreamKind_STREAM_KIND_STDIN] = &s.stdin
	}
	var opening sync.WaitGroup
	errs := make(chan error, len(wanted))
	for kind, conn := range wanted {
		opening.Go(func() {
			var err error
			if *conn, err = h.open(ctx, process, kind); err != nil {
				errs <- err
			}
		})
	}
	opening.Wait()
	select {
	case err := <-errs:
		s.close()
		return nil, err
	default:
		return &s, nil
	}
}

// openTerminal opens that of a process, which is all its outputs.
func (h *host) openTerminal(ctx context.Context, process string) (*streams, error) {
	conn, err := h.open(ctx, process, guestv1.StreamKind_STREAM_KIND_TERMINAL)
	if err != nil {
		return nil, err
	}
	err = h.call(ctx, guestv1.Agent_ResizeTerminal_FullMethodName, &guestv1.ResizeTerminalRequest{ContainerId: containerID, ProcessId: process, Width: 80, Height: 24},
		&guestv1.ResizeTerminalResponse{})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &streams{stdout: conn}, nil
}

// gather reads both outputs to their end, side by side.
func (s *streams) gather() (stdout string, err error) {
	var texts [2][]byte
	var errs [2]error
	var reading sync.WaitGroup
	for i, conn := range []*serialmux.Conn{s.stdout, s.stderr} {
		if conn == nil {
			continue
		}
		reading.Go(func() { texts[i], errs[i] = io.ReadAll(conn) })
	}
	reading.Wait()
	return string(texts[0]), errors.Join(errs[:]...)
}

func (s *streams) close() {
	for _, conn := range []*serialmux.Conn{s.stdin, s.stdout, s.stderr} {
		if conn != nil {
			_ = conn.Close()
		}
	}
}
