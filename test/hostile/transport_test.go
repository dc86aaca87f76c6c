package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/sockets"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/serialmux"
)

// frame is one of the multiplexer, which are yamux's.
func frame(kind byte, flags uint16, stream, length uint32) []byte {
	h := []byte{0, kind}
	h = binary.BigEndian.AppendUint16(h, flags)
	h = binary.BigEndian.AppendUint32(h, stream)
	return binary.BigEndian.AppendUint32(h, length)
}

const (
	data, window, ping, goAway = 0, 1, 2, 3
	syn, ack, fin, rst         = 1, 2, 4, 8
)

// TestAGuestThatBreaksTheMultiplexer has each guest do the same whenever the host comes again, until the host's user loses patience.
func TestAGuestThatBreaksTheMultiplexer(t *testing.T) {
	for name, raw := range map[string]func(pipe net.Conn){
		"ends in the middle of a header": func(c net.Conn) { _, _ = c.Write(frame(data, 0, 1, 9)[:5]) },
		"ends in the middle of a frame":  func(c net.Conn) { _, _ = c.Write(append(frame(data, 0, 1, 9), "abc"...)) },
		"announces 4 GiB":                func(c net.Conn) { repeat(c, nil, frame(data, 0, 1, 1<<32-1)) },
		"sends on streams of nobody":     func(c net.Conn) { repeat(c, nil, append(frame(data, 0, 400, 3), "abc"...)) },
		"says nothing":                   func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"says nothing and reads nothing": func(c net.Conn) { time.Sleep(shortPatience / 6) }, // the host is gone by then
		"sends pings without end":        func(c net.Conn) { repeat(c, nil, frame(ping, syn, 0, 7)) },
		"grows windows without end":      func(c net.Conn) { repeat(c, nil, frame(window, 0, 1, 1<<32-1)) },
		"opens and resets without end":   func(c net.Conn) { repeat(c, nil, append(frame(window, syn, 2, 0), frame(window, rst, 2, 0)...)) },
		"opens more than there may be": func(c net.Conn) {
			var all []byte
			for i := range uint32(100_000) {
				all = append(all, frame(window, syn, 2*i+2, 0)...)
			}
			repeat(c, all, frame(ping, syn, 0, 1))
		},
		"says goodbye":      func(c net.Conn) { repeat(c, nil, frame(goAway, 0, 0, 0)) },
		"answers for both":  func(c net.Conn) { repeat(c, nil, append(frame(data, ack|fin, 1, 1), 0)) },
		"greets for ever":   func(c net.Conn) { repeat(c, nil, []byte("VZMUXG1\n"+strings.Repeat("n", 32))) },
		"is random":         func(c net.Conn) { repeat(c, nil, noise(1<<20)) },
		"is random by bits": func(c net.Conn) { repeat(c, nil, flipped()) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, &liar{raw: func(pipe net.Conn) {
				defer pipe.Close()
				raw(pipe)
			}})
			err := w.beginWithin(t, shortPatience/10)
			if err == nil {
				t.Fatal("it has started")
			}
			w.holds(err.Error())
		})
	}
}

func noise(n int) []byte {
	random, p := rand.NewChaCha8([32]byte{}), make([]byte, n)
	_, _ = random.Read(p)
	return p
}

// flipped are frames that would be fine but for a few bits.
func flipped() []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var all []byte
	for range 10_000 {
		f := frame(byte(random.IntN(3)), uint16(random.IntN(16)), uint32(random.IntN(8)), uint32(random.IntN(64)))
		if f[1] == data {
			f = append(f, make([]byte, binary.BigEndian.Uint32(f[8:]))...)
		}
		if random.IntN(100) == 0 {
			f[random.IntN(12)] ^= 1 << random.IntN(8)
		}
		all = append(all, f...)
	}
	return all
}

// TestAGuestThatTakesItsTransportAway breaks off while the container runs.
func TestAGuestThatTakesItsTransportAway(t *testing.T) {
	started := make(chan struct{})
	guest := &liar{start: func() error { close(started); return nil }}
	guest.control = nil
	w := newWorld(t, guest)
	var pipe net.Conn
	guest.dial = func(context.Context, *serialmux.Guest) {
		<-started
		time.Sleep(50 * time.Millisecond) // so that the host waits for the process; nothing depends on it
		pipe.Close()
	}
	guest.opened = func(c net.Conn) { pipe = c }
	outcome := w.run()
	if outcome.Reason != sandbox.GuestHung || !strings.Contains(outcome.Message, "stopped answering") {
		t.Errorf("outcome %+v", outcome)
	}
	w.holds(outcome.Message)
}

// TestAGuestThatAsksForWhatItMayNotHave has a container to which one socket is offered.
func TestAGuestThatAsksForWhatItMayNotHave(t *testing.T) {
	guest := &liar{}
	w := newWorld(t, guest)
	offered := filepath.Join(t.TempDir(), "offered")
	l, err := net.Listen("unix", offered)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	connections := 0
	t.Cleanup(func() { l.Close() })
	go accept(l, func(c net.Conn) {
		mu.Lock()
		connections++
		mu.Unlock()
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	})
	w.spec.Sockets = []sandbox.Socket{{Socket: sockets.Socket{ID: "s0", Host: offered}, Path: "/s", ContainerMode: 0o600}}
	asked := make(chan struct{})
	guest.dial = func(ctx context.Context, g *serialmux.Guest) {
		var work sync.WaitGroup
		defer work.Wait()
		defer close(asked)
		for port := range uint32(2000) { // those of others, and none
			if port == 1026 {
				continue
			}
			if c, err := g.Dial(ctx, port); err == nil {
				t.Errorf("port %d of the host answers", port)
				c.Close()
			}
		}
		for _, said := range []string{
			"", "\x00", "\xff\xff\xff\xff", "\x00\x00\x00\x02\xff\xff", "\x00\x00\x10\x00" + strings.Repeat("a", 4096),
			header(&guestv1.SocketRequest{ContainerId: "web", SocketId: offered}),
			header(&guestv1.SocketRequest{ContainerId: "web", SocketId: strings.Repeat("\x1b[2J", 1000)}),
			header(&guestv1.SocketRequest{ContainerId: "other", SocketId: "s0"}),
		} {
			for range 50 { // more often than any log would take
				if c, err := g.Dial(ctx, 1026); err == nil {
					_, _ = io.WriteString(c, said)
					_ = c.CloseWrite()
					_, _ = io.Copy(io.Discard, c)
					_ = c.Close()
				}
			}
		}
		for range 400 { // and then says nothing, as often as it can
			work.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				if c, err := g.Dial(ctx, 1026); err == nil {
					_, _ = io.Copy(io.Discard, c)
					_ = c.Close()
				}
			})
		}
	}
	s, err := w.begin()
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	outcome := w.stop(s)
	mu.Lock()
	if connections > 0 {
		t.Errorf("%d connections to the socket that was never asked for by its id", connections)
	}
	mu.Unlock()
	w.holds(outcome.Message)
}

func header(request *guestv1.SocketRequest) string {
	var b bytes.Buffer
	if err := writeHeader(&b, request); err != nil {
		panic(err)
	}
	return b.String()
}
