package serialmux

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// sending is a stream whose guest end is a sender's.
type sending struct {
	*pair
	host, guest *Conn
	sender      *Sender
	from        syscall.RawConn
	process     *os.File // what is written to it is sent
}

func newSending(t *testing.T) *sending {
	t.Helper()
	s := &sending{pair: newPair(t, nil)}
	s.host, s.guest = s.stream(t)
	var err error
	if s.sender, err = s.guest.NewSender(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.sender.Close)
	near, far, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(near.Close(), far.Close()) })
	s.process = far
	if s.from, err = near.SyscallConn(); err != nil {
		t.Fatal(err)
	}
	return s
}

// stream connects to the guest.
func (p *pair) stream(t *testing.T) (host, guest *Conn) {
	t.Helper()
	listener, err := p.guest.Listen(slowPort)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, _ := listener.Accept()
		accepted <- conn
	}()
	host = dial(t, p.host, slowPort)
	guest = (<-accepted).(*Conn)
	t.Cleanup(func() { _ = guest.Close() })
	return host, guest
}

// sendAll sends until the end of the process's output, or an error.
func (s *sending) sendAll() error {
	for {
		n, _, err := s.sender.Send(s.from)
		if err != nil {
			return err
		}
		if n == 0 {
			return s.guest.CloseWrite()
		}
	}
}

func TestPagesArriveInOrderWhateverTheirSizesBesideOtherStreams(t *testing.T) {
	s := newSending(t)
	sent, received := sha256.New(), sha256.New()
	const total = 32 << 20
	var work sync.WaitGroup
	work.Go(func() {
		block := make([]byte, 200_000)
		for i := range block {
			block[i] = byte(rand.Uint32())
		}
		for left := total; left > 0; {
			piece := block[:min(left, 1+rand.IntN(1<<(1+rand.IntN(17))))]
			sent.Write(piece)
			if _, err := s.process.Write(piece); err != nil {
				t.Error(err)
				break
			}
			left -= len(piece)
		}
		_ = s.process.Close()
	})
	work.Go(func() {
		if err := s.sendAll(); err != nil {
			t.Error(err)
		}
	})
	work.Go(func() { exchange(t, s.pair.host, 16<<20) })
	n, err := io.Copy(received, s.host)
	work.Wait()
	if err != nil || n != total || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		t.Errorf("%d bytes of %d arrived, or others, error %v", n, total, err)
	}
}

func TestPagesKeepTheirPlaceAmongWhatIsWritten(t *testing.T) {
	p := newPair(t, nil)
	host, guest := p.stream(t)
	first := bytes.Repeat([]byte("w"), 300_000) // more than there is room for at first
	go func() {
		_, _ = guest.Write(first)
		s, err := guest.NewSender()
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		near, far, _ := os.Pipe()
		_, _ = far.WriteString("pages")
		_ = far.Close()
		raw, _ := near.SyscallConn()
		_, _, _ = s.Send(raw)
		_ = near.Close()
		if _, err := guest.Write([]byte(" and more")); err != nil {
			t.Error(err)
		}
		_ = guest.CloseWrite()
	}()
	got, err := io.ReadAll(host)
	if want := string(first) + "pages and more"; err != nil || string(got) != want {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestSenderToOneWhoDoesNotReadWaitsAndStallsNobodyElse(t *testing.T) {
	s := newSending(t)
	go func() {
		block := make([]byte, 1<<20)
		for {
			if _, err := s.process.Write(block); err != nil {
				return
			}
		}
	}()
	_ = s.guest.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	if err := s.sendAll(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("sending to one who does not read gave %v", err)
	}
	if left := s.sender.Left(); len(left) != 0 {
		t.Errorf("%d bytes were taken without room for them", len(left))
	}
	roundTrip(t, s.pair.host)
	exchange(t, s.pair.host, 8<<20)
	_ = s.guest.SetWriteDeadline(time.Time{})
	sending := make(chan error, 1)
	go func() { sending <- s.sendAll() }()
	if _, err := io.CopyN(io.Discard, s.host, 8<<20); err != nil {
		t.Errorf("the reader that reads again: %v", err)
	}
	s.host.Reset()
	if err := <-sending; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("sending to a connection that was reset gave %v", err)
	}
	roundTrip(t, s.pair.host)
}

func TestSenderOfALostSessionTakesNothing(t *testing.T) {
	s := newSending(t)
	_ = s.pair.host.Close()
	<-s.guest.Broken()
	if _, err := s.process.WriteString("kept"); err != nil {
		t.Fatal(err)
	}
	if _, read, err := s.sender.Send(s.from); read || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("sending gave %v, %v", read, err)
	}
	kept := make([]byte, 10)
	var n int
	_ = s.from.Read(func(fd uintptr) bool {
		n, _ = syscall.Read(int(fd), kept)
		return true
	})
	if got := string(kept[:max(n, 0)]) + string(s.sender.Left()); got != "kept" {
		t.Errorf("%q is left", got)
	}
	s.pair.host = s.connect(t, nil)
}

func TestCloseEndsASenderThatWaits(t *testing.T) {
	s := newSending(t)
	go func() {
		block := make([]byte, 1<<20)
		for {
			if _, err := s.process.Write(block); err != nil {
				return
			}
		}
	}()
	sending := make(chan error, 1)
	go func() { sending <- s.sendAll() }()
	_, _ = io.CopyN(io.Discard, s.host, 1<<20) // it has begun
	_ = s.guest.Close()
	if err := <-sending; !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("sending gave %v", err)
	}
	roundTrip(t, s.pair.host)
}

func TestWhereNoPagesCanBeMovedThereIsNoSender(t *testing.T) {
	here, there := socketPair(t)
	hidden := struct{ io.ReadWriteCloser }{there} // has a descriptor, but does not say so
	guest := NewGuest(func(ctx context.Context) (io.ReadWriteCloser, error) { return hidden, ctx.Err() })
	listener, err := guest.Listen(echoPort)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = guest.Serve(ctx) })
	defer running.Wait()
	defer cancel()
	session, err := Host(within(t, 10*time.Second), here, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	go func() { _, _ = session.Dial(within(t, 10*time.Second), echoPort) }()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.(*Conn).NewSender(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("NewSender gave %v", err)
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Errorf("a write after that: %v", err)
	}
}

func TestDeadlineCanBeSetAgain(t *testing.T) {
	var d deadline
	d.set(time.Now().Add(time.Hour))
	waiting := d.passed()
	d.set(time.Now().Add(time.Millisecond))
	<-waiting
	d.set(time.Time{})
	if isClosed(d.passed()) {
		t.Error("it has passed, and there is none")
	}
	d.set(time.Unix(1, 0))
	if !isClosed(d.passed()) {
		t.Error("one of long ago has not passed")
	}
	d.set(time.Unix(1, 0))
	if !isClosed(d.passed()) {
		t.Error("nor has it when it is set twice")
	}
}
