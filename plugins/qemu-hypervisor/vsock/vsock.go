// Package vsock offers a VM's ports at a unix socket, by the convention of Firecracker and Cloud Hypervisor called hybrid vsock:
//
//   - to the guest: connect to the socket, write "CONNECT <port>\n", read "OK <n>\n", then the bytes of the connection. Where nobody listens in the
//     guest, the connection ends without OK. Before the guest is there, the answer waits.
//   - from the guest: a connection to port P of the host arrives at the unix socket <path>_<P>.
//
// server.go is the socket, uplink.go the way to the guest, proxy.go moves the bytes. How they get there is package serialmux's.
package vsock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/serialmux"
)

const (
	// requestDeadline is how long a client may take to say which port it wants.
	requestDeadline = 30 * time.Second
	maxRequest      = len("CONNECT 4294967295\r\n")
)

// Server is the socket of one VM.
type Server struct {
	path     string
	listener *net.UnixListener
	uplink   *Uplink
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	work     sync.WaitGroup
	number   atomic.Uint32 // of the last connection, for the OK

	mu    sync.Mutex
	conns map[*net.UnixConn]bool
}

// Listen makes the socket at path, for its owner only, and serves it until Close.
func Listen(path string, uplink *Uplink) (*Server, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		return nil, err
	}
	s := &Server{path: path, listener: listener, uplink: uplink, conns: map[*net.UnixConn]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.work.Go(s.accept)
	return s, nil
}

// Close removes the socket, ends all its connections and waits for them.
func (s *Server) Close() error {
	s.cancel()
	err := s.listener.Close()
	s.mu.Lock()
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
	return err
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			select { // nothing tells when descriptors are free again
			case <-time.After(100 * time.Millisecond):
				continue
			case <-s.ctx.Done():
				return
			}
		}
		if err != nil {
			return
		}
		s.work.Go(func() {
			defer s.track(conn)()
			s.serve(conn)
		})
	}
}

// track lets Close end a connection, until the function it returns is called.
func (s *Server) track(conn *net.UnixConn) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[conn] = true
	if s.ctx.Err() != nil {
		_ = conn.Close()
	}
	return func() {
		_ = conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
	}
}

// serve is one connection to the guest. Any failure ends it without OK, which is all the protocol has to say.
func (s *Server) serve(conn *net.UnixConn) {
	_ = conn.SetReadDeadline(time.Now().Add(requestDeadline))
	port, err := readRequest(conn)
	if err != nil {
		return
	}
	guest, err := s.dial(conn, port)
	if err != nil {
		return
	}
	if _, err := fmt.Fprintf(conn, "OK %d\n", s.number.Add(1)); err != nil {
		guest.Reset()
		return
	}
	proxy(conn, guest)
}

// dial connects to the guest while the client waits for it.
func (s *Server) dial(conn *net.UnixConn, port uint32) (*serialmux.Conn, error) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	_ = conn.SetReadDeadline(time.Time{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if hungUp(conn) {
			cancel()
		}
	}()
	guest, err := s.uplink.Dial(ctx, port)
	_ = conn.SetReadDeadline(time.Unix(1, 0)) // ends the watch
	<-watched
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil && guest != nil {
		guest.Reset()
		return nil, err
	}
	return guest, err
}

// hungUp waits until the client has gone, or its read deadline. A client that has only ended its own direction has not gone.
func hungUp(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	return raw.Read(func(fd uintptr) bool {
		polled := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(polled, 0)
		return err == nil && n > 0 && polled[0].Revents&unix.POLLHUP != 0
	}) == nil
}

// readRequest reads no byte beyond the line, as what follows is the guest's.
func readRequest(conn *net.UnixConn) (port uint32, err error) {
	var line []byte
	for {
		var b [1]byte
		if _, err := conn.Read(b[:]); err != nil {
			return 0, err
		}
		if b[0] == '\n' {
			break
		}
		if line = append(line, b[0]); len(line) >= maxRequest {
			return 0, errors.New("request too long")
		}
	}
	return parseRequest(string(line))
}

func parseRequest(line string) (port uint32, err error) {
	number, found := strings.CutPrefix(strings.TrimSuffix(line, "\r"), "CONNECT ")
	if !found {
		return 0, errors.New("no CONNECT")
	}
	value, err := strconv.ParseUint(number, 10, 32)
	return uint32(value), err
}

// Incoming serves one connection of the guest to the host; it returns when that has ended.
func (s *Server) Incoming(request *serialmux.Request) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(s.ctx, "unix", fmt.Sprintf("%s_%d", s.path, request.Port))
	if err != nil {
		request.Refuse()
		return
	}
	host := conn.(*net.UnixConn)
	defer s.track(host)()
	guest, err := request.Accept()
	if err != nil {
		return
	}
	proxy(host, guest)
}
