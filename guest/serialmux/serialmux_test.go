package serialmux

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	echoPort = 1024
	slowPort = 2000
)

// pair is a host and a guest joined by sockets.
type pair struct {
	host  *Session
	guest *Guest
	pipes chan net.Conn // to the guest, one a session
}

// newPair starts a guest with an echo service and a host connected to it.
func newPair(t *testing.T, handle func(*Request)) *pair {
	t.Helper()
	p := &pair{pipes: make(chan net.Conn)}
	p.guest = NewGuest(func(ctx context.Context) (io.ReadWriteCloser, error) {
		select {
		case pipe := <-p.pipes:
			return pipe, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	listener, err := p.guest.Listen(echoPort)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = p.guest.Serve(ctx) })
	running.Go(func() { serveEcho(listener) })
	p.host = p.connect(t, handle)
	t.Cleanup(func() {
		_ = p.host.Close()
		_ = listener.Close()
		cancel()
		running.Wait()
	})
	return p
}

// connect begins a session.
func (p *pair) connect(t *testing.T, handle func(*Request)) *Session {
	t.Helper()
	here, there := socketPair(t)
	p.pipes <- there
	session, err := Host(within(t, 10*time.Second), here, handle)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func serveEcho(listener net.Listener) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			defer func() { _ = conn.Close() }()
			if _, err := io.Copy(conn, conn); err == nil {
				_ = conn.(*Conn).CloseWrite()
			}
		})
	}
}

func socketPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
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

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, s *Session, port uint32) *Conn {
	t.Helper()
	conn, err := s.Dial(within(t, 10*time.Second), port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// roundTrip shows that the echo service answers.
func roundTrip(t *testing.T, s *Session) {
	t.Helper()
	conn := dial(t, s, echoPort)
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte("are you there")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 13)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "are you there" {
		t.Fatalf("echo answered %q, %v", answer, err)
	}
	_ = conn.Close()
}

func TestBytesSentBeforeHalfCloseComeBackWhole(t *testing.T) {
	p := newPair(t, nil)
	exchange(t, p.host, 64<<20)
}

func TestSixtyFourConnectionsAtOnce(t *testing.T) {
	p := newPair(t, nil)
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() { exchange(t, p.host, 1<<20) })
	}
	group.Wait()
}

// exchange sends size bytes to the echo service, ends its direction and compares what comes back.
func exchange(t *testing.T, s *Session, size int) {
	conn, err := s.Dial(within(t, 30*time.Second), echoPort)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	sent, received := sha256.New(), sha256.New()
	var writing sync.WaitGroup
	writing.Go(func() {
		block := make([]byte, 100_000)
		for left := size; left > 0; left -= len(block) {
			block = block[:min(len(block), left)]
			block[0], block[len(block)/2] = byte(left), byte(left>>8)
			sent.Write(block)
			if _, err := conn.Write(block); err != nil {
				t.Error(err)
				return
			}
		}
		if err := conn.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	n, err := io.Copy(received, conn)
	writing.Wait()
	if err != nil || n != int64(size) || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		t.Errorf("of %d bytes %d came back, error %v", size, n, err)
	}
}

func TestGuestEndsFirstAndStillReads(t *testing.T) {
	p := newPair(t, nil)
	listener, err := p.guest.Listen(3000)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_ = conn.(*Conn).CloseWrite()
		text, _ := io.ReadAll(conn)
		got <- string(text)
	}()
	conn := dial(t, p.host, 3000)
	if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
		t.Fatalf("read %q, %v; want end of file", rest, err)
	}
	if _, err := conn.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if text := <-got; text != "still here" {
		t.Errorf("guest read %q", text)
	}
}

func TestPortWhereNobodyListensIsRefused(t *testing.T) {
	p := newPair(t, nil)
	if _, err := p.host.Dial(within(t, 10*time.Second), 9); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("host's dial gave %v", err)
	}
	if _, err := p.guest.Dial(within(t, 10*time.Second), 9); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("guest's dial gave %v", err)
	}
	roundTrip(t, p.host)
}

func TestGuestReachesHostByPort(t *testing.T) {
	p := newPair(t, func(r *Request) {
		conn, err := r.Accept()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(conn, "host %d", r.Port)
		_ = conn.Close()
	})
	conn, err := p.guest.Dial(within(t, 10*time.Second), 77)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(conn); err != nil || string(text) != "host 77" {
		t.Errorf("read %q, %v", text, err)
	}
}

func TestReaderThatDoesNotReadStallsNobodyElse(t *testing.T) {
	for _, side := range []string{"guest", "host"} {
		t.Run(side, func(t *testing.T) {
			p := newPair(t, nil)
			listener, err := p.guest.Listen(slowPort)
			if err != nil {
				t.Fatal(err)
			}
			var stalled, writer net.Conn
			accepted := make(chan net.Conn, 1)
			go func() {
				conn, _ := listener.Accept()
				accepted <- conn
			}()
			stalled = dial(t, p.host, slowPort)
			writer = <-accepted
			if side == "guest" {
				stalled, writer = writer, stalled
			}
			_ = writer.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			n, err := writer.Write(make([]byte, 8<<20))
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("wrote %d bytes to one who does not read, error %v", n, err)
			}
			roundTrip(t, p.host)
			exchange(t, p.host, 8<<20)
			_ = stalled.Close()
			_ = writer.SetWriteDeadline(time.Now().Add(10 * time.Second))
			if _, err := writer.Write(make([]byte, 1<<20)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("write to a closed connection gave %v", err)
			}
		})
	}
}

func TestResetReachesTheOtherEnd(t *testing.T) {
	for _, side := range []string{"guest", "host"} {
		t.Run(side+" resets", func(t *testing.T) {
			p := newPair(t, nil)
			listener, err := p.guest.Listen(slowPort)
			if err != nil {
				t.Fatal(err)
			}
			accepted := make(chan *Conn, 1)
			go func() {
				conn, _ := listener.Accept()
				accepted <- conn.(*Conn)
			}()
			from := dial(t, p.host, slowPort)
			to := <-accepted
			if side == "guest" {
				from, to = to, from
			}
			blocked := make(chan error, 1)
			go func() {
				_, err := from.Read(make([]byte, 1))
				blocked <- err
			}()
			from.Reset()
			_ = to.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := to.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other end's read gave %v", err)
			}
			if err := <-blocked; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("own read gave %v", err)
			}
			roundTrip(t, p.host)
			if n := p.host.mux.NumStreams(); n > 1 {
				t.Errorf("%d streams are left", n)
			}
		})
	}
}

func TestLostHostIsAnErrorAndTheNextOneIsServed(t *testing.T) {
	p := newPair(t, nil)
	listener, err := p.guest.Listen(slowPort)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, _ := listener.Accept()
		accepted <- conn
	}()
	here := dial(t, p.host, slowPort)
	there := <-accepted
	_ = p.host.Close()
	for name, conn := range map[string]net.Conn{"host": here, "guest": there} {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s's read gave %v", name, err)
		}
	}
	p.host = p.connect(t, nil)
	roundTrip(t, p.host)
}

func TestNewSessionSkipsWhatTheEarlierOneLeft(t *testing.T) {
	p := newPair(t, nil)
	_ = p.host.Close()
	here, there := socketPair(t)
	stale := bytes.Repeat([]byte{0, 0, 'V', 'Z', 1}, 10_000)
	stale = append(stale, helloReady+"0123456789abcdef"+helloHost+"fedcba9876543210VZMU"...)
	if _, err := here.Write(stale); err != nil { // all of it fits the socket's buffer
		t.Fatal(err)
	}
	p.pipes <- there
	session, err := Host(within(t, 10*time.Second), here, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.host = session
	roundTrip(t, p.host)
}

func TestWritesWaitForAPausedGuestWithinTheirDeadline(t *testing.T) {
	here, there := socketPair(t)
	gate := &gated{Conn: there, open: make(chan struct{})}
	guest := NewGuest(func(ctx context.Context) (io.ReadWriteCloser, error) { return gate, ctx.Err() })
	listener, err := guest.Listen(echoPort)
	if err != nil {
		t.Fatal(err)
	}
	go serveEcho(listener)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = guest.Serve(ctx) })
	defer running.Wait()
	defer cancel()
	close(gate.open)
	session, err := Host(within(t, 10*time.Second), here, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	conn := dial(t, session, echoPort)
	gate.pause()
	_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := conn.Write(make([]byte, 4<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write to a paused guest gave %v", err)
	}
	if _, err := session.Dial(within(t, 50*time.Millisecond), echoPort); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial of a paused guest gave %v", err)
	}
	_ = conn.Close()
	gate.resume()
	roundTrip(t, session)
}

// gated is a pipe whose reader can be stopped, as that of a paused VM is.
type gated struct {
	net.Conn
	mu   sync.Mutex
	open chan struct{}
}

func (g *gated) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gated) resume() { close(g.open) }

func (g *gated) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
	return n, err
}
