package port_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vzctl/vzctl/plugins/user-network/port"
)

func paths(t *testing.T) (own, vm string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "port")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "own"), filepath.Join(dir, "vm")
}

func open(t *testing.T, own, vm string) *port.Port {
	t.Helper()
	p, err := port.Open(own, vm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func listen(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestFramesForAVMThatIsNotThereAreDropped(t *testing.T) {
	own, vm := paths(t)
	p := open(t, own, vm)
	p.Send([]byte("lost"))
	if p.Dropped() != 1 {
		t.Fatalf("%d dropped", p.Dropped())
	}
	c := listen(t, vm)
	p.Send([]byte("taken"))
	b := make([]byte, 16)
	if n, err := c.Read(b); err != nil || string(b[:n]) != "taken" {
		t.Fatalf("%q %v", b[:n], err)
	}
}

func TestASlowVMGetsWhatIsQueuedInOrder(t *testing.T) {
	own, vm := paths(t)
	c := listen(t, vm)
	p := open(t, own, vm)
	const frames = 200 // more than a kernel queues, less than the port does
	for i := range frames {
		p.Send([]byte{byte(i)})
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 16)
	for i := range frames {
		if n, err := c.Read(b); err != nil || n != 1 || b[0] != byte(i) {
			t.Fatalf("frame %d is %x: %v", i, b[:n], err)
		}
	}
	if p.Dropped() != 0 {
		t.Fatalf("%d dropped", p.Dropped())
	}
}

func TestAStuckVMHoldsUpNeitherSendNorClose(t *testing.T) {
	own, vm := paths(t)
	listen(t, vm)
	p := open(t, own, vm)
	for range 2000 {
		p.Send(make([]byte, 9000))
	}
	if p.Dropped() == 0 {
		t.Fatal("nothing was dropped")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCloseEndsReceiveAndRemovesTheSocket(t *testing.T) {
	own, vm := paths(t)
	p := open(t, own, vm)
	done := make(chan error, 1)
	go func() {
		_, err := p.Receive(make([]byte, 16))
		done <- err
	}()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := os.Lstat(own); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}
