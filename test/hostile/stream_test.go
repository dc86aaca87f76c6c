package hostile

import (
	"crypto/sha256"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/containerlog"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

func writeHeader(w io.Writer, m proto.Message) error { return agent.WriteHeader(w, m) }

const (
	stdin  = guestv1.StreamKind_STREAM_KIND_STDIN
	stdout = guestv1.StreamKind_STREAM_KIND_STDOUT
	stderr = guestv1.StreamKind_STREAM_KIND_STDERR
)

func TestStreamsThatCannotBeOpened(t *testing.T) {
	for name, answer := range map[string]func(c net.Conn){
		"no answer, and the end":   func(net.Conn) {},
		"an answer of 4 GiB":       func(c net.Conn) { _, _ = io.WriteString(c, "\xff\xff\xff\xff") },
		"no message":               func(c net.Conn) { _, _ = io.WriteString(c, "\x00\x00\x00\x02\xff\xff") },
		"the end in the middle":    func(c net.Conn) { _, _ = io.WriteString(c, "\x00\x00\x00\x20abc") },
		"a refusal that steers":    func(c net.Conn) { _ = writeHeader(c, &guestv1.StreamResponse{Error: strings.ToValidUTF8(nasty, "?")}) },
		"a refusal as long as any": func(c net.Conn) { _ = writeHeader(c, &guestv1.StreamResponse{Error: strings.Repeat("x", 4000)}) },
		"a reset":                  func(c net.Conn) { c.(interface{ Reset() }).Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, &liar{streams: func(c net.Conn, _ *guestv1.StreamRequest) {
				answer(c)
				c.Close()
			}})
			_, err := w.begin()
			if err == nil {
				t.Fatal("it has started")
			}
			w.holds(err.Error())
		})
	}
}

// TestOutputWithoutEndOrLines is a process that writes much, with nobody attached: all of it is logged, and little is held.
func TestOutputWithoutEndOrLines(t *testing.T) {
	for _, test := range []struct {
		name         string
		piece, count int
	}{
		{"in large pieces", 1 << 20, 128},
		{"byte by byte", 1, 300_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			guest := &liar{}
			want := sha256.New()
			piece := make([]byte, test.piece)
			for range test.count {
				want.Write(piece)
			}
			guest.streams = func(c net.Conn, r *guestv1.StreamRequest) {
				if r.Kind != stdout {
					quiet(c, r)
					return
				}
				defer c.Close()
				if writeHeader(c, &guestv1.StreamResponse{}) != nil {
					return
				}
				for range test.count {
					if _, err := c.Write(piece); err != nil {
						t.Error(err)
						return
					}
				}
				_ = c.(interface{ CloseWrite() error }).CloseWrite()
				guest.exits <- &guestv1.Exit{}
				_, _ = io.Copy(io.Discard, c)
			}
			w := newWorld(t, guest)
			outcome := w.run()
			w.holds(outcome.Message)
			if err := w.log.Close(); err != nil {
				t.Fatal(err)
			}
			got := sha256.New()
			if err := containerlog.Replay(t.Context(), w.logPath, containerlog.Options{Tail: -1}, got, io.Discard); err != nil {
				t.Fatal(err)
			}
			if string(got.Sum(nil)) != string(want.Sum(nil)) {
				t.Error("the log has something else")
			}
			last := &counter{}
			if err := containerlog.Replay(t.Context(), w.logPath, containerlog.Options{Tail: 1}, last, io.Discard); err != nil || last.n == 0 {
				t.Errorf("its last line has %d bytes, %v", last.n, err)
			}
			w.holds()
		})
	}
}

type counter struct{ n int }

func (c *counter) Write(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

// TestAGuestThatDoesNotRead has somebody send input to a process that takes none.
func TestAGuestThatDoesNotRead(t *testing.T) {
	guest := &liar{streams: func(c net.Conn, r *guestv1.StreamRequest) {
		if r.Kind != stdin {
			quiet(c, r)
			return
		}
		defer c.Close()
		_ = writeHeader(c, &guestv1.StreamResponse{})
		<-c.(interface{ Broken() <-chan struct{} }).Broken()
	}}
	w := newWorld(t, guest)
	s, err := w.begin()
	if err != nil {
		t.Fatal(err)
	}
	near, far := socketPair(t)
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		_ = s.Stdin.Copy(t.Context(), far, false)
		far.Close()
	}()
	sent, piece := 0, make([]byte, 64<<10)
	for sent < huge {
		_ = near.SetWriteDeadline(time.Now().Add(time.Second)) // nobody takes any more
		n, err := near.Write(piece)
		if sent += n; err != nil {
			break
		}
	}
	if sent >= huge {
		t.Errorf("%d bytes were taken of somebody whom nobody reads", sent)
	}
	outcome := w.stop(s)
	near.Close()
	<-taken
	w.holds(outcome.Message)
}

// TestStreamsThatSayMoreThanTheyShould: a stream of input that speaks, and one of output that goes on after the process has ended, and its guest has shut down.
func TestStreamsThatSayMoreThanTheyShould(t *testing.T) {
	guest := &liar{streams: func(c net.Conn, r *guestv1.StreamRequest) {
		defer c.Close()
		if writeHeader(c, &guestv1.StreamResponse{}) != nil {
			return
		}
		repeat(c, nil, []byte(r.Kind.String()))
	}}
	w := newWorld(t, guest)
	s, err := w.begin()
	if err != nil {
		t.Fatal(err)
	}
	outcome := w.stop(s) // whoever asks for the end gets it
	if outcome.Reason != "killed" {
		t.Errorf("outcome %+v", outcome)
	}
	w.holds(outcome.Message)
}

func socketPair(t *testing.T) (near, far *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
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
	return near, far
}
