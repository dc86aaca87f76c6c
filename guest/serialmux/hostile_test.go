package serialmux

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// frame is one of yamux.
func frame(kind byte, flags uint16, stream, length uint32) []byte {
	var h header
	h[1] = kind
	binary.BigEndian.PutUint16(h[2:], flags)
	binary.BigEndian.PutUint32(h[4:], stream)
	binary.BigEndian.PutUint32(h[8:], length)
	return h[:]
}

// hostile returns a host's session and the pipe of a guest that says what it likes.
func hostile(t testing.TB, handle func(*Request)) (*Session, net.Conn) {
	t.Helper()
	here, there := socketPair(t)
	greeted := make(chan error, 1)
	go func() { greeted <- greetHost(context.Background(), there, bufio.NewReaderSize(there, 16)) }()
	session, err := Host(context.Background(), here, handle)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-greeted; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = session.Close()
		_ = there.Close()
	})
	return session, there
}

// awaitEnd fails the test if the session does not end.
func awaitEnd(t testing.TB, s *Session) {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the session does not end")
	}
}

func TestPeerThatBreaksTheProtocolLosesItsSession(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"unknown version":              append([]byte{9}, make([]byte, 11)...),
		"unknown frame":                frame(17, 0, 0, 0),
		"frame larger than any":        frame(typeData, 0, 2, MaxFrame+1),
		"stream that is not its own":   frame(typeWindow, flagSYN, 1, 0),
		"stream zero":                  frame(typeWindow, flagSYN, 0, 0),
		"one stream twice":             append(frame(typeWindow, flagSYN, 2, 0), frame(typeWindow, flagSYN, 2, 0)...),
		"a new greeting":               []byte(helloGuest),
		"end in the middle of a frame": frame(typeWindow, flagSYN, 2, 0)[:7],
	} {
		t.Run(name, func(t *testing.T) {
			session, pipe := hostile(t, nil)
			if _, err := pipe.Write(bytes); err != nil {
				t.Fatal(err)
			}
			if name == "end in the middle of a frame" {
				_ = pipe.Close()
			}
			awaitEnd(t, session)
			if session.Err() == nil {
				t.Error("no reason given")
			}
		})
	}
}

func TestPeerCannotSendMoreThanTheWindow(t *testing.T) {
	release := make(chan struct{})
	session, pipe := hostile(t, func(r *Request) {
		<-release
		r.Refuse()
	})
	defer close(release)
	go func() { _, _ = io.Copy(io.Discard, pipe) }()
	_, _ = pipe.Write(frame(typeWindow, flagSYN, 2, 0))
	_, _ = pipe.Write(append(frame(typeData, 0, 2, openLength), openVersion, 0, 0, 0, 7))
	body := make([]byte, MaxFrame)
	go func() {
		for range 2 * window / MaxFrame {
			if _, err := pipe.Write(append(frame(typeData, 0, 2, MaxFrame), body...)); err != nil {
				return
			}
		}
	}()
	select {
	case <-session.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the session does not end")
	}
}

func TestStreamsOfThePeerAreCounted(t *testing.T) {
	release := make(chan struct{})
	session, pipe := hostile(t, func(r *Request) {
		<-release
		r.Refuse()
	})
	defer close(release)
	var frames []byte
	const tooMany = 100
	for i := range uint32(maxStreams + tooMany) {
		frames = append(frames, frame(typeWindow, flagSYN, 2*i+2, 0)...)
	}
	go func() { _, _ = pipe.Write(frames) }()
	refused := 0
	_ = pipe.SetReadDeadline(time.Now().Add(20 * time.Second))
	for refused < tooMany { // there may be more: a backlog that is full resets, too
		var h header
		if _, err := io.ReadFull(pipe, h[:]); err != nil {
			t.Fatalf("after %d resets: %v", refused, err)
		}
		if h.flags()&flagRST != 0 {
			refused++
		}
	}
	session.link.mu.Lock()
	defer session.link.mu.Unlock()
	if n := len(session.link.streams); n > maxStreams {
		t.Errorf("%d streams are held", n)
	}
}

func TestFramesThatMeanNothingHereAreSkipped(t *testing.T) {
	session, pipe := hostile(t, func(r *Request) {
		if conn, err := r.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	})
	for range 1000 {
		_, _ = pipe.Write(frame(typePing, flagSYN, 0, 7))
		_, _ = pipe.Write(append(frame(typeData, 0, 400, 3), "abc"...))
		_, _ = pipe.Write(frame(typeWindow, 8, 402, 3))
	}
	_, _ = pipe.Write(frame(typeWindow, flagSYN, 2, 0))
	_, _ = pipe.Write(append(frame(typeData, flagFIN, 2, openLength), openVersion, 0, 0, 0, 7))
	_ = pipe.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		var h header
		if _, err := io.ReadFull(pipe, h[:]); err != nil {
			t.Fatal(err)
		}
		if h.kind() == typePing {
			t.Error("a ping was answered")
		}
		if h.kind() == typeData {
			break // the answer to the request
		}
	}
	select {
	case <-session.Done():
		t.Error(session.Err())
	default:
	}
}

func TestHandlersEndWithTheSession(t *testing.T) {
	session, pipe := hostile(t, nil)
	for i := range uint32(64) { // which never say what they want
		_, _ = pipe.Write(frame(typeWindow, flagSYN, 2*i+2, 0))
	}
	closed := make(chan struct{})
	go func() {
		_ = session.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("close does not end")
	}
}

// FuzzGuestOfAHost plays a hostile guest: whatever it sends, the session ends when the pipe does, and nothing panics.
func FuzzGuestOfAHost(f *testing.F) {
	f.Add(frame(typeWindow, flagSYN, 2, 100))
	f.Add(append(append(frame(typeWindow, flagSYN, 2, 0), frame(typeData, 0, 2, openLength)...), openVersion, 0, 0, 0, 7, 0, 1, 0, 4, 0, 0, 0, 2, 0, 0, 0, 0))
	f.Add(append(frame(typePing, flagSYN, 0, 1), frame(typeGoAway, 0, 0, 1)...))
	f.Add(append(frame(typeData, flagSYN|flagFIN, 2, 4), "abcdVZMUXG1\n"...))
	f.Fuzz(func(t *testing.T, sent []byte) {
		session, pipe := hostile(t, func(r *Request) {
			if r.Port%2 == 0 {
				r.Refuse()
				return
			}
			conn, err := r.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		})
		var answers = make(chan struct{})
		go func() {
			defer close(answers)
			_, _ = io.Copy(io.Discard, pipe)
		}()
		_, _ = pipe.Write(sent)
		_ = pipe.(*net.UnixConn).CloseWrite()
		awaitEnd(t, session)
		_ = session.Close()
		<-answers
	})
}

// FuzzHello feeds rubbish to a guest that waits for its host: it never takes it for a greeting of its own session.
func FuzzHello(f *testing.F) {
	f.Add([]byte(helloHost + "0123456789abcdef" + helloReady + "0123456789abcdef"))
	f.Add([]byte("VZVZMUXH1\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		here, there := socketPair(t)
		go func() {
			_, _ = here.Write(sent)
			_ = here.(*net.UnixConn).CloseWrite()
			_, _ = io.Copy(io.Discard, here)
		}()
		if err := greetHost(context.Background(), there, bufio.NewReader(there)); err == nil {
			t.Error("rubbish was taken for a host")
		}
		_ = there.Close()
		_ = here.Close()
	})
}
