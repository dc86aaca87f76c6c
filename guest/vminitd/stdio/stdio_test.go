package stdio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// connection returns the guest's and the host's end of one.
func connection(t *testing.T) (guest, host *net.UnixConn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	near, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(near.Close(), far.Close()) })
	return near.(*net.UnixConn), far.(*net.UnixConn)
}

func pipes(t *testing.T) *Pipes {
	t.Helper()
	p, err := NewPipes()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// serve serves a stream, and closes the connection at its end as the agent does.
func serve(t *testing.T, s interface {
	Claim(Conn) error
	Serve(Conn)
}, conn *net.UnixConn) (done chan struct{}) {
	t.Helper()
	if err := s.Claim(conn); err != nil {
		t.Fatal(err)
	}
	done = make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(conn)
		_ = conn.Close()
	}()
	return done
}

func TestAllThatAProcessWroteArrivesBeforeTheEnd(t *testing.T) {
	p := pipes(t)
	written := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	if _, err := p.Far()[1].Write(written); err != nil {
		t.Fatal(err)
	}
	p.CloseFar() // the process has ended
	guest, host := connection(t)
	done := serve(t, p.Stdout, guest)
	got, err := io.ReadAll(host)
	if err != nil || !bytes.Equal(got, written) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	<-done
	if err := p.Stdout.Claim(guest); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestALostConnectionOfASilentProcessFreesTheStream(t *testing.T) {
	p := pipes(t)
	guest, _ := connection(t)
	done := serve(t, p.Stdout, guest)
	if err := p.Stdout.Claim(guest); !errors.Is(err, ErrBusy) {
		t.Errorf("a second connection: %v", err)
	}
	_ = guest.SetReadDeadline(past) // as a lost session makes reads fail
	<-done
	guest, host := connection(t)
	serve(t, p.Stdout, guest)
	if _, err := p.Far()[1].WriteString("again"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(host, got); err != nil || string(got) != "again" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestHalfCloseEndsInput(t *testing.T) {
	p := pipes(t)
	guest, host := connection(t)
	done := serve(t, p.Stdin, guest)
	if _, err := host.Write([]byte("typed")); err != nil {
		t.Fatal(err)
	}
	if err := host.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(p.Far()[0])
	if err != nil || string(got) != "typed" {
		t.Errorf("%q, %v", got, err)
	}
	<-done
}

func TestTheEndOfAProcessReleasesItsInput(t *testing.T) {
	p := pipes(t)
	guest, host := connection(t)
	done := serve(t, p.Stdin, guest)
	p.Stdin.Close()
	<-done
	_ = host.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := host.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the host reads %v", err)
	}
	guest, _ = connection(t)
	<-serve(t, p.Stdin, guest) // to the host it looks as if it had come a moment earlier
}

func TestClosingWakesAStalledStream(t *testing.T) {
	p := pipes(t)
	guest, _ := connection(t)
	done := serve(t, p.Stdout, guest)
	writing, far := make(chan struct{}), p.Far()[1]
	go func() {
		defer close(writing)
		for {
			if _, err := far.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}()
	p.Stdout.Close()
	<-done
	p.Close()
	<-writing
}
