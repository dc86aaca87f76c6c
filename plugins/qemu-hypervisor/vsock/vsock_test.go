package vsock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vzctl/vzctl/guest/serialmux"
)

const (
	echoPort   = 7
	silentPort = 8
)

// machine is a VM without a VM: a guest on the other end of a pair of sockets.
type machine struct {
	path  string
	guest *serialmux.Guest
	run   func() // boots it
	end   func() // ends it
	drop  func() // the plugin's end loses the session
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "vz")
	if err != nil {
		t.Fatal(err)
	}
	uplink := NewUplink()
	server, err := Listen(filepath.Join(dir, "vsock"), uplink)
	if err != nil {
		t.Fatal(err)
	}
	pipes := make(chan io.ReadWriteCloser)
	m := &machine{path: server.path, drop: uplink.Drop}
	m.guest = serialmux.NewGuest(func(ctx context.Context) (io.ReadWriteCloser, error) {
		select {
		case pipe := <-pipes:
			return pipe, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	listener, err := m.guest.Listen(echoPort)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.guest.Listen(silentPort); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { echo(listener) })
	running.Go(func() { _ = m.guest.Serve(ctx) })
	connect := func(ctx context.Context) (io.ReadWriteCloser, error) {
		here, there := pair(t)
		select {
		case pipes <- there:
			return here, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	upCtx, down := context.WithCancel(ctx)
	m.run = func() { running.Go(func() { uplink.Run(upCtx, connect, server.Incoming) }) }
	m.end = down
	t.Cleanup(func() {
		_ = server.Close()
		_ = listener.Close()
		cancel()
		down()
		running.Wait()
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		_ = os.RemoveAll(dir)
	})
	return m
}

func echo(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}()
	}
}

func pair(t *testing.T) (a, b net.Conn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socketpair")
		if conns[i], err = net.FileConn(file); err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
	}
	return conns[0], conns[1]
}

// request connects and sends a line, and returns the connection and the next n bytes of the answer.
func request(t *testing.T, path, line string, n int) (*net.UnixConn, string, error) {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, line); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, n)
	read, err := io.ReadFull(conn, answer)
	return conn, string(answer[:read]), err
}

func TestConnectionToTheGuest(t *testing.T) {
	m := newMachine(t)
	m.run()
	conn, answer, err := request(t, m.path, fmt.Sprintf("CONNECT %d\nsent early", echoPort), len("OK 1\nsent early"))
	if err != nil || answer != "OK 1\nsent early" {
		t.Fatalf("answer %q, %v", answer, err)
	}
	_, _ = conn.Write([]byte(" and late"))
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || string(rest) != " and late" {
		t.Errorf("after the half-close read %q, %v", rest, err)
	}
}

func TestRefusalsEndWithoutOK(t *testing.T) {
	m := newMachine(t)
	m.run()
	for name, line := range map[string]string{
		"nobody listens":         "CONNECT 99\n",
		"no such command":        "HELLO\n",
		"no port":                "CONNECT \n",
		"port too large":         "CONNECT 4294967296\n",
		"negative port":          "CONNECT -1\n",
		"a line without an end":  "CONNECT 77777777777777777777777777777777777777777",
		"binary rubbish":         "\x00\x01\x02\x03\n",
		"lower case":             "connect 7\n",
		"something after a port": "CONNECT 7 now\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, answer, err := request(t, m.path, line, 1); !ended(err) {
				t.Errorf("answer %q, %v", answer, err)
			}
		})
	}
}

// ended reports whether a connection was closed without a byte: unread bytes of the client make that a reset.
func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) }

func TestConnectBeforeTheBootWaitsForIt(t *testing.T) {
	m := newMachine(t)
	conn, err := net.Dial("unix", m.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "CONNECT %d\n", echoPort)
	_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("before the boot there was an answer: %v", err)
	}
	m.run()
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	answer := make([]byte, 5)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "OK 1\n" {
		t.Errorf("answer %q, %v", answer, err)
	}
}

func TestEndOfTheVMEndsConnectionsAndThoseThatWait(t *testing.T) {
	m := newMachine(t)
	m.run()
	open, answer, err := request(t, m.path, fmt.Sprintf("CONNECT %d\n", echoPort), 5)
	if err != nil {
		t.Fatalf("answer %q, %v", answer, err)
	}
	waiting, err := net.Dial("unix", m.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = waiting.Close() }()
	_, _ = fmt.Fprintf(waiting, "CONNECT %d\n", silentPort) // which accepts nobody
	m.end()
	for name, conn := range map[string]net.Conn{"open": open, "waiting": waiting} {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); !ended(err) {
			t.Errorf("%s connection: %v", name, err)
		}
	}
}

func TestClientThatGoesWhileItWaitsLeavesNothing(t *testing.T) {
	m := newMachine(t)
	for range 20 {
		conn, err := net.Dial("unix", m.path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "CONNECT %d\n", echoPort)
		_ = conn.Close()
	}
	m.run() // and the cleanup waits for every goroutine
	if _, answer, err := request(t, m.path, fmt.Sprintf("CONNECT %d\n", echoPort), 3); err != nil || answer != "OK " {
		t.Errorf("answer %q, %v", answer, err)
	}
}

func TestConnectionOfTheGuestArrivesAtItsPortsSocket(t *testing.T) {
	m := newMachine(t)
	m.run()
	listener, err := net.Listen("unix", m.path+"_1024")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	got := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		text, _ := io.ReadAll(conn) // the guest's half-close ends it
		_, _ = conn.Write([]byte("answer"))
		_ = conn.Close()
		got <- string(text)
	}()
	conn, err := m.guest.Dial(t.Context(), 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte("question"))
	_ = conn.CloseWrite()
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "answer" || <-got != "question" {
		t.Errorf("answer %q, %v", answer, err)
	}
	if _, err := m.guest.Dial(t.Context(), 1025); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("where nobody listens: %v", err)
	}
}

func TestLostSessionIsFollowedByAnother(t *testing.T) {
	m := newMachine(t)
	m.run()
	open, _, err := request(t, m.path, fmt.Sprintf("CONNECT %d\n", echoPort), 5)
	if err != nil {
		t.Fatal(err)
	}
	m.drop()
	if _, err := open.Read(make([]byte, 1)); !ended(err) {
		t.Errorf("connection of the lost session: %v", err)
	}
	if _, answer, err := request(t, m.path, fmt.Sprintf("CONNECT %d\n", echoPort), 3); err != nil || answer != "OK " {
		t.Errorf("answer %q, %v", answer, err)
	}
}

func TestSocketIsForItsOwnerOnly(t *testing.T) {
	m := newMachine(t)
	info, err := os.Stat(m.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
