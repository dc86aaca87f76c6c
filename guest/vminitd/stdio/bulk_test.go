package stdio

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vzctl/vzctl/guest/serialmux"
)

const streamPort = 1025

// muxed is a guest whose streams are those of package serialmux, and the session of its host.
type muxed struct {
	host   *serialmux.Session
	conns  *serialmux.Listener
	listen *net.UnixListener
}

func newMuxed(t *testing.T) *muxed {
	t.Helper()
	m := &muxed{}
	path := filepath.Join(t.TempDir(), "s")
	var err error
	if m.listen, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	guest := serialmux.NewGuest(func(ctx context.Context) (io.ReadWriteCloser, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", path)
	})
	if m.conns, err = guest.Listen(streamPort); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = guest.Serve(ctx) })
	m.connect(t)
	t.Cleanup(func() {
		cancel()
		_ = errors.Join(m.host.Close(), m.listen.Close())
		running.Wait()
	})
	return m
}

// connect begins a session.
func (m *muxed) connect(t *testing.T) {
	t.Helper()
	pipe, err := m.listen.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if m.host, err = serialmux.Host(ctx, pipe, nil); err != nil {
		t.Fatal(err)
	}
}

// stream returns a stream's host end, and serves the guest's.
func (m *muxed) stream(t *testing.T, out *Output) (host *serialmux.Conn, done chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done = make(chan struct{})
	accepted := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := m.conns.Accept()
		close(accepted)
		if err != nil {
			return
		}
		guest := conn.(*serialmux.Conn)
		if err := out.Claim(guest); err != nil {
			t.Error(err)
			return
		}
		out.Serve(guest)
		_ = guest.Close()
	}()
	host, err := m.host.Dial(ctx, streamPort)
	if err != nil {
		t.Fatal(err)
	}
	<-accepted
	return host, done
}

// count writes numbers, each once and in order.
func count(w io.WriteCloser, numbers int) {
	block := make([]byte, 0, 64<<10)
	for i := range numbers {
		if block = binary.BigEndian.AppendUint32(block, uint32(i)); len(block) == cap(block) || i == numbers-1 {
			if _, err := w.Write(block); err != nil {
				return
			}
			block = block[:0]
		}
	}
	_ = w.Close()
}

func TestMuchOutputArrivesWholeAndEnds(t *testing.T) {
	m, p := newMuxed(t), pipes(t)
	host, done := m.stream(t, p.Stdout)
	const numbers = 4 << 20
	go count(p.Far()[1], numbers)
	got, err := io.ReadAll(host)
	if err != nil || len(got) != 4*numbers {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for i := range numbers {
		if n := binary.BigEndian.Uint32(got[4*i:]); n != uint32(i) {
			t.Fatalf("%d where %d should be", n, i)
		}
	}
	<-done
}

func TestMuchOutputGoesOnWithTheNextSession(t *testing.T) {
	m, p := newMuxed(t), pipes(t)
	host, done := m.stream(t, p.Stdout)
	const numbers = 16 << 20
	go count(p.Far()[1], numbers)
	first := make([]byte, 16<<20)
	if _, err := io.ReadFull(host, first); err != nil {
		t.Fatal(err)
	}
	_ = m.host.Close()
	<-done
	m.connect(t)
	host, done = m.stream(t, p.Stdout)
	rest, err := io.ReadAll(host)
	if err != nil || len(rest)%4 != 0 {
		t.Fatalf("%d bytes, %v", len(rest), err)
	}
	// What was on its way is lost, nothing comes twice, and nothing is missing after that.
	began := len(first) / 4
	next := int(binary.BigEndian.Uint32(rest))
	if next < began || next+len(rest)/4 != numbers {
		t.Fatalf("after %d numbers it goes on with %d and ends with %d", began, next, next+len(rest)/4)
	}
	for i := range len(rest) / 4 {
		if n := binary.BigEndian.Uint32(rest[4*i:]); n != uint32(next+i) {
			t.Fatalf("%d where %d should be", n, next+i)
		}
	}
	<-done
}

func TestClosingWakesAStreamOfMuchOutput(t *testing.T) {
	m, p := newMuxed(t), pipes(t)
	host, done := m.stream(t, p.Stdout)
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		count(p.Far()[1], 16<<20)
	}()
	if _, err := io.CopyN(io.Discard, host, 1<<20); err != nil {
		t.Fatal(err)
	}
	p.Stdout.Close()
	<-done
	<-writing
}
