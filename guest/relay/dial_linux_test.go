package relay

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// full is a socket at which somebody listens, whose backlog is full.
func full(t *testing.T) (path string, take func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "relay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err := errors.Join(err, unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	for {
		conn, err := net.Dial("unix", path)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	return path, func() {
		taken, _, err := unix.Accept(fd)
		if err != nil {
			t.Error(err)
		}
		t.Cleanup(func() { unix.Close(taken) })
	}
}

func TestOneWhoIsSlowToTakeConnectionsIsWaitedFor(t *testing.T) {
	path, take := full(t)
	got := make(chan error, 1)
	go func() {
		conn, err := DialUnix(t.Context(), path)
		if err == nil {
			_, err = conn.Write([]byte("x"))
			conn.Close()
		}
		got <- err
	}()
	take()
	select {
	case err := <-got:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it is not connected")
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	path, _ := full(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := DialUnix(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestNobodyWhoListensIsARefusal(t *testing.T) {
	if _, err := DialUnix(t.Context(), "/nowhere/at/all"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("error %v", err)
	}
}

func TestAConnectionTakesOneDescriptorAndAFailedOneNone(t *testing.T) {
	dir, err := os.MkdirTemp("", "relay")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	listener, err := net.Listen("unix", filepath.Join(dir, "s")) // whose backlog takes all
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	refuses := filepath.Join(dir, "nobody")
	if err := os.WriteFile(refuses, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sockets := func() (n int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(target, "socket:") {
				n++
			}
		}
		return n
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	crowded, _ := full(t)
	before := sockets()
	for range 3 {
		for _, test := range []struct {
			ctx  context.Context
			path string
		}{{t.Context(), filepath.Join(dir, "none")}, {t.Context(), refuses}, {t.Context(), strings.Repeat("x", 200)}, {ended, crowded}} {
			if conn, err := DialUnix(test.ctx, test.path); err == nil {
				conn.Close()
				t.Fatalf("%s is connected to", test.path)
			}
		}
	}
	if now := sockets(); now != before {
		t.Errorf("connections that failed have left %d sockets", now-before)
	}
	var open []net.Conn
	for range 10 {
		conn, err := DialUnix(t.Context(), listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	if now := sockets(); now != before+len(open) {
		t.Errorf("%d connections have %d sockets", len(open), now-before)
	}
	for _, conn := range open {
		if err := conn.Close(); err != nil { // of what another has closed it fails
			t.Error(err)
		}
	}
}
