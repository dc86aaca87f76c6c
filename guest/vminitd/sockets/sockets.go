// Package sockets joins the unix sockets of a container to those of the host (docs/sockets.md). At some the guest listens: each connection of a process of the container becomes one to
// the host, which is told the socket's id and nothing else. At the others a process of the container listens, and the host opens the connections.
package sockets

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/relay"
	"github.com/vzctl/vzctl/guest/vminitd/helper"
)

const (
	// HostPort is where the host takes connections to its sockets.
	HostPort = 1026
	// Most is how many sockets a container may have.
	Most = 64
	// maxConnections bounds those of one container at a time in each direction; a session with the host has 256 for all there is. Further ones wait.
	maxConnections = 64
	// hostPatience is how long the host may take to answer for a connection.
	hostPatience = 30 * time.Second
	// maxHeader bounds the host's answer, in bytes.
	maxHeader = 4096
)

// Socket is one of a container's.
type Socket struct {
	ID, Path string
	// Listen has the guest listen, at a socket with these permissions. Owned says that it belongs to the user of the container's first process, and
	// not to UID and GID.
	Listen   bool
	Mode     os.FileMode
	Owned    bool
	UID, GID int
}

// Dial connects to a port of the host.
type Dial func(ctx context.Context, port uint32) (net.Conn, error)

// Set is all sockets of one container.
type Set struct {
	container string
	dial      Dial
	listening []*net.UnixListener
	files     []helper.File
	inward    map[string]Socket // by id: those at which a process of the container listens
	outward   chan struct{}     // has a token for each connection of the container's processes
	within    chan struct{}     // the same for the host's
	open      atomic.Int64

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
}

// Open listens at the sockets that are the guest's to listen at, in a new directory below dir, which is the container's own; Files says where they are to be put.
// Connections wait until then. It returns nil if there are no sockets.
func Open(container, dir string, all []Socket, dial Dial) (*Set, error) {
	if len(all) == 0 {
		return nil, nil
	}
	s := &Set{container: container, dial: dial, inward: map[string]Socket{}, outward: make(chan struct{}, maxConnections), within: make(chan struct{}, maxConnections)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	dir = filepath.Join(dir, "sockets")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	for i, socket := range all {
		if !socket.Listen {
			s.inward[socket.ID] = socket
			continue
		}
		if err := s.listen(filepath.Join(dir, strconv.Itoa(i)), socket); err != nil {
			s.Close()
			return nil, fmt.Errorf("make socket %s: %w", socket.Path, err)
		}
	}
	return s, nil
}

func (s *Set) listen(path string, socket Socket) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	s.listening = append(s.listening, l)
	if !socket.Owned {
		if err := os.Chown(path, socket.UID, socket.GID); err != nil {
			return err
		}
	}
	if err := os.Chmod(path, socket.Mode); err != nil {
		return err
	}
	s.files = append(s.files, helper.File{Source: path, Destination: socket.Path, Owned: socket.Owned})
	s.work.Go(func() { s.accept(l, socket.ID) })
	return nil
}

// Files are to be put over paths of the container.
func (s *Set) Files() []helper.File {
	if s == nil {
		return nil
	}
	return s.files
}

// Connections says how many are open now.
func (s *Set) Connections() int {
	if s == nil {
		return 0
	}
	return int(s.open.Load())
}

// Close ends all connections, stops listening, and waits for both.
func (s *Set) Close() {
	if s == nil {
		return
	}
	s.cancel()
	for _, l := range s.listening {
		_ = l.Close() // fails only if it is closed
	}
	s.work.Wait()
}

// accept passes the connections of the container's processes on to the host.
func (s *Set) accept(l *net.UnixListener, id string) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return // it is closed: vminitd's own limit of descriptors is out of reach for maxConnections
		}
		select {
		case s.outward <- struct{}{}:
		case <-s.ctx.Done():
			_ = conn.Close()
			return
		}
		s.work.Go(func() {
			defer func() { <-s.outward }()
			s.forward(conn, id)
		})
	}
}

// forward joins a connection to the host's socket. A process whose connection the host does not take sees it end.
func (s *Set) forward(conn *net.UnixConn, id string) {
	s.open.Add(1)
	defer s.open.Add(-1)
	host, err := s.connectHost(id)
	if err != nil {
		_ = conn.Close()
		return
	}
	relay.Join(s.ctx, conn, host)
}

func (s *Set) connectHost(id string) (relay.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, hostPatience)
	defer cancel()
	conn, err := s.dial(ctx, HostPort)
	if err != nil {
		return nil, err
	}
	host, ok := conn.(relay.Conn)
	if !ok {
		return nil, errors.Join(errors.New("the transport has no half-close"), conn.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := ask(host, &guestv1.SocketRequest{ContainerId: s.container, SocketId: id}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return host, nil
}

// ask says which socket is wanted, and returns why the host refuses.
func ask(host io.ReadWriter, request *guestv1.SocketRequest) error {
	body, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := host.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(host, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxHeader {
		return fmt.Errorf("an answer of %d bytes", n)
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(host, answer); err != nil {
		return err
	}
	var response guestv1.StreamResponse
	if err := proto.Unmarshal(answer, &response); err != nil {
		return err
	}
	if response.Error != "" {
		return errors.New(response.Error)
	}
	return nil
}

// dialIn connects to a socket at a path within root. Links of the container lead nowhere else; the length of the path does not matter.
func dialIn(ctx context.Context, root *os.File, path string) (*net.UnixConn, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(int(root.Fd()), path, how)
	for errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		fd, err = unix.Openat2(int(root.Fd()), path, how)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, errors.New("it is not a socket")
	}
	return relay.DialUnix(ctx, "/proc/self/fd/"+strconv.Itoa(fd))
}
