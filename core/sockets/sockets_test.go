package sockets

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vzctl/vzctl/core/agent"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

// echo listens at a socket and sends back what comes. It counts its connections.
type echo struct {
	path  string
	taken atomic.Int64
}

func newEcho(t *testing.T) *echo {
	e := &echo{path: filepath.Join(plugintest.RuntimeDir(t), "echo")}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: e.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			e.taken.Add(1)
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
				_ = conn.CloseWrite()
			}()
		}
	}()
	return e
}

// OpenStream has the echo be a process of the container.
func (e *echo) OpenStream(_ context.Context, r *guestv1.StreamRequest) (net.Conn, error) {
	if r.ContainerId != "web" || r.SocketId != "s0" || r.Kind != guestv1.StreamKind_STREAM_KIND_SOCKET {
		return nil, errors.New("the guest is asked for something else")
	}
	return net.Dial("unix", e.path)
}

func open(t *testing.T, all ...Socket) (r *Relay, vsock string) {
	t.Helper()
	vsock = filepath.Join(plugintest.RuntimeDir(t), "vsock")
	r, err := Open("web", all, vsock, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, vsock
}

func connect(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

// echoes sends something, ends its direction, and expects the same back.
func echoes(t *testing.T, conn *net.UnixConn) {
	t.Helper()
	sent := make([]byte, 3<<20)
	_, _ = rand.Read(sent)
	go func() {
		_, _ = conn.Write(sent)
		_ = conn.CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes and %v came back of %d", len(got), err, len(sent))
	}
}

func published(path string) Socket { return Socket{ID: "s0", Host: path, Publish: true, Mode: 0o600} }

func TestAPublishedSocketLeadsToTheContainerAndGoesWithIt(t *testing.T) {
	for name, path := range map[string]string{
		"short":                 filepath.Join(plugintest.RuntimeDir(t), "s"),
		"a long directory":      filepath.Join(t.TempDir(), strings.Repeat("d", 200), "s"),
		"as long as names get":  filepath.Join(t.TempDir(), strings.Repeat("s", 255)),
		"with the name of none": filepath.Join(t.TempDir(), " "),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			r, _ := open(t, published(path))
			early := connect(t, path) // waits
			r.Serve(newEcho(t))
			echoes(t, early)
			echoes(t, connect(t, path))
			if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
				t.Errorf("it is %v, %v", info.Mode(), err)
			}
			idle := connect(t, path)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if _, err := idle.Read(make([]byte, 1)); err == nil {
				t.Error("a connection goes on")
			}
			if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 0 {
				t.Errorf("left are %v, %v", left, err)
			}
		})
	}
}

func TestWhatIsAtThePathOfAPublishedSocket(t *testing.T) {
	abandon := func(t *testing.T, path string) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	for _, test := range []struct {
		name, refusal string
		make          func(t *testing.T, path string)
	}{
		{"an abandoned socket is replaced", "", abandon},
		{"a socket in use stays", "somebody listens", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}},
		{"a file stays", "not a socket", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"a directory stays", "not a socket", func(t *testing.T, path string) { _ = os.Mkdir(path, 0o700) }},
		{"a link is not followed", "not a socket", func(t *testing.T, path string) {
			abandon(t, path+"-elsewhere")
			_ = os.Symlink(path+"-elsewhere", path)
		}},
		{"a link to nowhere is not followed", "not a socket", func(t *testing.T, path string) { _ = os.Symlink(path+"-elsewhere", path) }},
		{"no directory", "no such file", func(t *testing.T, path string) { _ = os.Remove(filepath.Dir(path)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(plugintest.RuntimeDir(t), "d")
			_ = os.Mkdir(dir, 0o700)
			path := filepath.Join(dir, "s")
			test.make(t, path)
			before, _ := os.Lstat(path)
			r, err := Open("web", []Socket{published(path)}, "", hclog.NewNullLogger())
			if test.refusal == "" {
				if err != nil {
					t.Fatal(err)
				}
				r.Serve(newEcho(t))
				echoes(t, connect(t, path))
				r.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.refusal) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, should say %q", err, test.refusal)
			}
			after, _ := os.Lstat(path)
			if (before == nil) != (after == nil) || before != nil && !os.SameFile(before, after) {
				t.Error("it is not what it was")
			}
			left, _ := filepath.Glob(filepath.Join(dir, ".vzctl-*"))
			if len(left) > 0 {
				t.Errorf("left are %v", left)
			}
		})
	}
}

func TestWhatSomebodyElseHasPutThereMeanwhileStays(t *testing.T) {
	path := filepath.Join(plugintest.RuntimeDir(t), "s")
	r, _ := open(t, published(path))
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("precious"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(path); string(got) != "precious" {
		t.Errorf("it has %q, %v", got, err)
	}
}

func TestASecondSocketThatFailsTakesTheFirstAway(t *testing.T) {
	dir := plugintest.RuntimeDir(t)
	_, err := Open("web", []Socket{published(filepath.Join(dir, "s")), {ID: "s1", Host: filepath.Join(dir, "missing")}}, filepath.Join(dir, "vsock"), hclog.NewNullLogger())
	if err == nil || !strings.Contains(err.Error(), "no such socket") {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// ask is the guest, which asks for a socket of the host.
func ask(t *testing.T, vsock, container, id string) (*net.UnixConn, error) {
	t.Helper()
	conn := connect(t, vsock+"_1026")
	if err := agent.WriteHeader(conn, &guestv1.SocketRequest{ContainerId: container, SocketId: id}); err != nil {
		t.Fatal(err)
	}
	var answer guestv1.StreamResponse
	if err := agent.ReadHeader(conn, &answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	return conn, nil
}

func TestTheGuestGetsWhatIsOfferedByItsIDAlone(t *testing.T) {
	e := newEcho(t)
	path := filepath.Join(plugintest.RuntimeDir(t), "s")
	_, vsock := open(t, Socket{ID: "s0", Host: e.path}, Socket{ID: "s1", Host: path + "d", Publish: true, Mode: 0o600})
	conn, err := ask(t, vsock, "web", "s0")
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, conn)
	for name, test := range map[string]struct{ container, id string }{
		"no id":                  {"web", ""},
		"an unknown id":          {"web", "s7"},
		"a path":                 {"web", e.path},
		"another container":      {"other", "s0"},
		"one that is published":  {"web", "s1"},
		"an id with a long name": {"web", strings.Repeat("s", 4000)},
	} {
		if conn, err := ask(t, vsock, test.container, test.id); err == nil || strings.Contains(err.Error(), "/") {
			t.Errorf("%s: got a connection (%v), or learned of a path: %v", name, conn != nil, err)
		}
	}
	if n := e.taken.Load(); n != 1 {
		t.Errorf("the host's socket has had %d connections, want 1", n)
	}
}

func TestAGuestThatSaysNonsenseLosesItsConnection(t *testing.T) {
	_, vsock := open(t, Socket{ID: "s0", Host: newEcho(t).path})
	for name, said := range map[string]string{
		"a header longer than any": "\xff\xff\xff\xff",
		"no message":               "\x00\x00\x00\x02\xff\xff",
	} {
		conn := connect(t, vsock+"_1026")
		if _, err := io.WriteString(conn, said); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); len(got) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: answered %q, %v", name, got, err)
		}
	}
}

func TestConnectionsAreBoundedAndTheRestWaits(t *testing.T) {
	e := newEcho(t)
	_, vsock := open(t, Socket{ID: "s0", Host: e.path})
	var first *net.UnixConn
	for range maxConnections {
		conn, err := ask(t, vsock, "web", "s0")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // so it is counted
			t.Fatal(err)
		}
		if first == nil {
			first = conn
		}
	}
	next := make(chan error, 1)
	go func() {
		_, err := ask(t, vsock, "web", "s0")
		next <- err
	}()
	if n := e.taken.Load(); n != maxConnections {
		t.Errorf("%d connections, want %d", n, maxConnections)
	}
	select {
	case err := <-next:
		t.Fatalf("one more has an answer: %v", err)
	default:
	}
	first.Close()
	if err := <-next; err != nil {
		t.Error(err)
	}
}

func TestASocketOfTheHostThatIsGoneIsARefusal(t *testing.T) {
	e := newEcho(t)
	_, vsock := open(t, Socket{ID: "s0", Host: e.path})
	if err := os.Remove(e.path); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, vsock, "web", "s0"); err == nil || err.Error() != "connection refused" {
		t.Errorf("the guest is told %v", err)
	}
}
