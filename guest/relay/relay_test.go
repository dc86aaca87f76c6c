package relay

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// joined returns the outer ends of two connections whose inner ends are joined, and what is closed when Join has returned.
func joined(t *testing.T, ctx context.Context) (left, right *net.UnixConn, done chan struct{}) {
	left, a := pair(t)
	right, b := pair(t)
	done = make(chan struct{})
	go func() {
		Join(ctx, a, b)
		close(done)
	}()
	return left, right, done
}

func pair(t *testing.T) (near, far *net.UnixConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "relay")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr)); err != nil {
		t.Fatal(err)
	}
	if far, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*net.UnixConn{near, far} {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return near, far
}

func awaitDone(t *testing.T, done chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
}

func TestTheEndOfOneDirectionIsPassedOnWhileTheOtherGoesOn(t *testing.T) {
	left, right, done := joined(t, t.Context())
	sent := make([]byte, 1<<20)
	_, _ = rand.Read(sent)
	go func() {
		_, _ = left.Write(sent)
		_ = left.CloseWrite()
	}()
	if got, err := io.ReadAll(right); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes and %v arrived of %d", len(got), err, len(sent))
	}
	if _, err := right.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	_ = right.CloseWrite()
	if got, err := io.ReadAll(left); err != nil || string(got) != "answer" {
		t.Errorf("answer %q, %v", got, err)
	}
	awaitDone(t, done)
}

func TestASideThatIsGoneEndsBoth(t *testing.T) {
	left, right, done := joined(t, t.Context())
	_ = left.Close()
	// The end is passed on as such; what goes the other way then fails.
	for {
		if _, err := right.Write(make([]byte, 64<<10)); err != nil {
			break
		}
	}
	awaitDone(t, done)
}

func TestTheContextEndsIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	left, _, done := joined(t, ctx)
	cancel()
	awaitDone(t, done)
	if _, err := left.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection: %v", err)
	}
}
