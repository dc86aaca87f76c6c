package sandbox

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/core/sockets"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

func TestSocketsAreMadeBeforeTheContainerAndGoWithIt(t *testing.T) {
	w := newWorld(t)
	spec := w.spec()
	published, offered := filepath.Join(w.dir, "published"), filepath.Join(w.dir, "offered")
	l, err := net.Listen("unix", offered)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	spec.Sockets = []Socket{
		{Socket: sockets.Socket{ID: "s0", Host: published, Publish: true, Mode: 0o600}, Path: "/in/published"},
		{Socket: sockets.Socket{ID: "s1", Host: offered}, Path: "/in/offered", ContainerMode: 0o660},
	}
	s := New(spec, w.environment())
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{published, w.vsock + "_1026"} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	if len(w.sockets) != 2 || w.sockets[0].Listen || !w.sockets[1].Listen || w.sockets[1].Mode != 0o660 || w.sockets[1].Uid != nil {
		t.Errorf("the guest was told %v", w.sockets)
	}
	for _, told := range w.sockets {
		if strings.Contains(told.String(), w.dir) {
			t.Errorf("the guest was told a path of the host: %v", told)
		}
	}
	conn, err := net.Dial("unix", published)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w.exits(&guestv1.Exit{})
	w.wait(s)
	if got, err := io.ReadAll(conn); len(got) > 0 || err != nil && !errors.Is(err, net.ErrClosed) {
		t.Logf("the connection ended with %q, %v", got, err)
	}
	for _, path := range []string{published, w.vsock + "_1026"} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestAStartWhoseSocketsFailLeavesNothing(t *testing.T) {
	w := newWorld(t)
	spec := w.spec()
	spec.Sockets = []Socket{{Socket: sockets.Socket{ID: "s0", Host: filepath.Join(w.dir, "nobody")}, Path: "/in/offered"}}
	if err := New(spec, w.environment()).Start(t.Context()); !errors.Is(err, fault.NotFound) {
		t.Errorf("error %v", err)
	}
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestAGuestThatWouldLeaveSocketsOutIsRefused(t *testing.T) {
	w := newWorld(t)
	w.old = true
	spec := w.spec()
	published := filepath.Join(w.dir, "published")
	spec.Sockets = []Socket{{Socket: sockets.Socket{ID: "s0", Host: published, Publish: true, Mode: 0o600}, Path: "/in/published"}}
	if err := New(spec, w.environment()).Start(t.Context()); !errors.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "older") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Lstat(published); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}
