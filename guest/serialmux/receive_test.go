package serialmux

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"
)

// opened is a stream that a hostile guest has opened to a host which takes it.
func opened(t *testing.T) (session *Session, pipe net.Conn, conn *Conn) {
	t.Helper()
	conns := make(chan *Conn, 1)
	session, pipe = hostile(t, func(r *Request) {
		if conn, err := r.Accept(); err == nil {
			conns <- conn
		}
	})
	_, _ = pipe.Write(append(frame(typeWindow, flagSYN, 2, 0), append(frame(typeData, 0, 2, openLength), openVersion, 0, 0, 0, 7)...))
	select {
	case conn = <-conns:
	case <-time.After(20 * time.Second):
		t.Fatal("the stream was not taken")
	}
	t.Cleanup(func() { _ = conn.Close() })
	return session, pipe, conn
}

// drain reads what the host answers, so that it can go on, and returns what it gives room for on stream 2.
func drain(pipe io.Reader) <-chan uint32 {
	room := make(chan uint32, 1<<12)
	go func() {
		defer close(room)
		for {
			var h header
			if _, err := io.ReadFull(pipe, h[:]); err != nil {
				return
			}
			if h.kind() == typeData {
				if _, err := io.CopyN(io.Discard, pipe, int64(h.length())); err != nil {
					return
				}
			}
			if h.kind() == typeWindow && h.stream() == 2 && h.length() > 0 {
				room <- h.length()
			}
		}
	}()
	return room
}

func TestFramesOfAnySizeArriveInOrderReadOrWrittenTo(t *testing.T) {
	take := map[string]func(io.Writer, *Conn) (int64, error){
		"read in pieces": func(w io.Writer, c *Conn) (int64, error) {
			return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{c}, make([]byte, 10_007))
		},
		"written to": func(w io.Writer, c *Conn) (int64, error) { return c.WriteTo(w) },
	}
	for name, take := range take {
		t.Run(name, func(t *testing.T) {
			_, pipe, conn := opened(t)
			room := drain(pipe)
			random := rand.New(rand.NewPCG(3, 4))
			var want bytes.Buffer
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				left, sizes := int64(firstRoom-openLength), []int{1, 3, 100, shared, shared + 1, copied, copied + 1, MaxFrame / 4, MaxFrame/4 + 1, window / 2} // larger ones never fit for sure
				for i := range 300 {
					body := make([]byte, sizes[random.IntN(len(sizes))])
					for i := range body {
						body[i] = byte(random.Uint32())
					}
					for left < int64(len(body)) {
						left += int64(<-room)
					}
					left -= int64(len(body))
					want.Write(body)
					flags := uint16(0)
					if i == 299 {
						flags = flagFIN
					}
					_, _ = pipe.Write(append(frame(typeData, flags, 2, uint32(len(body))), body...))
				}
			}()
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			var got bytes.Buffer
			n, err := take(&got, conn)
			<-sent
			if err != nil || n != int64(want.Len()) || !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Errorf("%d bytes, or others than were sent, %v; want %d", n, err, want.Len())
			}
		})
	}
}

func TestPeerThatSendsByteByByteIsHeldInLittleMoreThanItsBytes(t *testing.T) {
	_, pipe, conn := opened(t)
	drain(pipe)
	const sent = 200_000
	one := append(frame(typeData, 0, 2, 1), 'x')
	_, _ = pipe.Write(bytes.Repeat(one, sent))
	_, _ = pipe.Write(append(frame(typeData, flagFIN, 2, 1), 'x'))
	for !hasEnded(conn) {
		<-conn.state.inbox.arrived
	}
	held := 0
	conn.session.link.mu.Lock()
	for _, c := range conn.state.inbox.chunks {
		held += cap(c.memory) + 32
	}
	conn.session.link.mu.Unlock()
	if held > 2*sent {
		t.Errorf("%d bytes are held in %d", sent, held)
	}
	if n, err := conn.WriteTo(io.Discard); err != nil || n != sent+1 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestPeerIsHeldInTwiceItsBytesAtMost(t *testing.T) {
	for _, size := range []int{copied + 1, MaxFrame/4 + 1, MaxFrame/2 - 1, MaxFrame / 2} {
		_, pipe, conn := opened(t)
		room, left, sent := drain(pipe), firstRoom-openLength, 0
		for left < window-openLength { // which it has without anything having been read
			left += int(<-room)
		}
		for ; left >= size; left -= size {
			_, _ = pipe.Write(append(frame(typeData, 0, 2, uint32(size)), make([]byte, size)...))
			sent += size
		}
		held, arrived := 0, 0
		for arrived < sent {
			<-conn.state.inbox.arrived
			conn.session.link.mu.Lock()
			held, arrived = 0, 0
			for _, c := range conn.state.inbox.chunks {
				held, arrived = held+cap(c.memory), arrived+len(c.memory)
			}
			conn.session.link.mu.Unlock()
		}
		if held > 2*sent {
			t.Errorf("%d bytes in frames of %d are held in %d", sent, size, held)
		}
	}
}

func hasEnded(c *Conn) bool {
	c.session.link.mu.Lock()
	defer c.session.link.mu.Unlock()
	return c.state.finIn
}

func TestPeerThatSendsMoreThanThereIsRoomForLosesItsSession(t *testing.T) {
	for name, size := range map[string]int{"in large frames": MaxFrame, "in small ones": 4096} {
		t.Run(name, func(t *testing.T) {
			session, pipe, _ := opened(t)
			drain(pipe)
			body := append(frame(typeData, 0, 2, uint32(size)), make([]byte, size)...)
			for range window/size + 1 {
				if _, err := pipe.Write(body); err != nil {
					break
				}
			}
			awaitEnd(t, session)
		})
	}
}

func TestDataInTheFrameThatEndsAHalfClosedStreamArrive(t *testing.T) {
	session, pipe, conn := opened(t)
	drain(pipe)
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_, _ = pipe.Write(append(frame(typeData, flagFIN, 2, 3), "abc"...))
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if got, err := io.ReadAll(conn); string(got) != "abc" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	session.link.mu.Lock()
	defer session.link.mu.Unlock()
	if n := len(session.link.streams); n != 0 {
		t.Errorf("%d streams are held", n)
	}
}

func TestWhatHadArrivedIsVoidAfterAReset(t *testing.T) {
	_, pipe, conn := opened(t)
	drain(pipe)
	_, _ = pipe.Write(append(append(frame(typeData, flagFIN, 2, 3), "abc"...), frame(typeWindow, flagRST, 2, 0)...))
	select {
	case <-conn.Broken():
	case <-time.After(20 * time.Second):
		t.Fatal("the reset does not arrive")
	}
	if n, err := conn.Read(make([]byte, 10)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

func TestWhatHadArrivedCanBeReadAfterTheEndOfTheSession(t *testing.T) {
	session, pipe, conn := opened(t)
	drain(pipe)
	_, _ = pipe.Write(append(frame(typeData, 0, 2, 3), "abc"...))
	_ = pipe.(*net.UnixConn).CloseWrite()
	awaitEnd(t, session)
	var got bytes.Buffer
	if n, err := conn.WriteTo(&got); n != 3 || got.String() != "abc" || !errors.Is(err, ErrSessionLost) {
		t.Errorf("got %q, %v", &got, err)
	}
}

// failing takes some bytes and then no more.
type failing struct{ left int }

var errFull = errors.New("full")

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return f.left, errFull
	}
	f.left -= len(p)
	return len(p), nil
}

func TestWriteToReturnsTheErrorOfItsWriterAsItIs(t *testing.T) {
	_, pipe, conn := opened(t)
	drain(pipe)
	_, _ = pipe.Write(append(frame(typeData, 0, 2, 30_000), make([]byte, 30_000)...))
	if n, err := conn.WriteTo(&failing{100}); n != 100 || err != errFull {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestAStreamThatIsOpenedAsTheSessionEndsIsNobodys has the other end open a stream by a frame that is read when all streams have been ended already.
func TestAStreamThatIsOpenedAsTheSessionEndsIsNobodys(t *testing.T) {
	for name, arrives := range map[string][]byte{
		"without data": frame(typeWindow, flagSYN, 2, 0),
		"with data":    append(frame(typeData, flagSYN, 2, 1), openVersion),
	} {
		here, there := net.Pipe()
		l := newLink(here, bufio.NewReader(here), false)
		ended := errors.New("it ends")
		l.fail(ended)
		go func() { _, _ = there.Write(arrives) }()
		if n, err := l.Read(make([]byte, headerLength)); !errors.Is(err, ended) {
			t.Errorf("%s: yamux is given %d bytes, %v", name, n, err)
		}
		if len(l.streams) > 0 {
			t.Errorf("%s: a stream is left, whose reader would wait for ever", name)
		}
		if err := errors.Join(l.Close(), there.Close()); err != nil {
			t.Error(err)
		}
	}
}
