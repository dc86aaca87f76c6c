package stdio

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWhoKeepsAnEndedProcesssOutputOpenIsNotWaitedFor(t *testing.T) {
	p := pipes(t)
	guest, host := connection(t)
	done := serve(t, p.Stdout, guest)
	if _, err := p.Far()[1].WriteString("all of it"); err != nil {
		t.Fatal(err)
	}
	p.Stdout.Linger(50 * time.Millisecond) // the far end stays open
	got, err := io.ReadAll(host)
	if err != nil || string(got) != "all of it" {
		t.Errorf("%q, %v", got, err)
	}
	<-done
}

func TestAProcessThatEndedBeforeItsStreamWasOpenedIsNotWaitedForEither(t *testing.T) {
	p := pipes(t)
	if _, err := p.Far()[1].WriteString("all of it"); err != nil {
		t.Fatal(err)
	}
	p.Stdout.Linger(50 * time.Millisecond)
	guest, host := connection(t)
	done := serve(t, p.Stdout, guest)
	if got, err := io.ReadAll(host); err != nil || string(got) != "all of it" {
		t.Errorf("%q, %v", got, err)
	}
	<-done
}

func TestATerminalThatOthersKeepIsNotWaitedForEither(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	terminal, others := NewTerminal(os.NewFile(uintptr(fds[0]), "master")), os.NewFile(uintptr(fds[1]), "others")
	t.Cleanup(func() { terminal.Close(); _ = others.Close() })
	if _, err := others.WriteString("all of it"); err != nil {
		t.Fatal(err)
	}
	terminal.Linger(50 * time.Millisecond) // before a connection has it
	guest, host := connection(t)
	done := serve(t, terminal, guest)
	if got, err := io.ReadAll(host); err != nil || string(got) != "all of it" {
		t.Errorf("%q, %v", got, err)
	}
	<-done
}

func TestASlowReaderGetsAllThatAnEndedProcessWrote(t *testing.T) {
	m, p := newMuxed(t), pipes(t)
	host, done := m.stream(t, p.Stdout)
	written := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	got := make([]byte, 0, len(written))
	first := make([]byte, 1<<20)
	far := p.Far()[1]
	go func() {
		if _, err := far.Write(written); err != nil {
			t.Error(err)
		}
		p.Stdout.Linger(5 * time.Millisecond) // the far end stays open
	}()
	for len(got) < len(written) { // a piece, and nothing for many times the grace
		n, err := io.ReadFull(host, first)
		got = append(got, first[:n]...)
		if err != nil {
			t.Fatalf("after %d bytes of %d: %v", len(got), len(written), err)
		}
		time.Sleep(25 * time.Millisecond)
	}
	if n, err := host.Read(first); n != 0 || err != io.EOF {
		t.Errorf("behind the end are %d bytes, %v", n, err)
	}
	if !bytes.Equal(got, written) {
		t.Error("other bytes came")
	}
	<-done
}

func TestOneWhoWritesForEverIsNotReadForEver(t *testing.T) {
	m, p := newMuxed(t), pipes(t)
	host, done := m.stream(t, p.Stdout)
	far, written := p.Far()[1], make(chan struct{})
	go func() {
		defer close(written)
		for block := make([]byte, 64<<10); ; {
			if _, err := far.Write(block); err != nil {
				return
			}
		}
	}()
	p.Stdout.Linger(10 * time.Millisecond)
	if _, err := io.Copy(io.Discard, host); err != nil {
		t.Error(err)
	}
	<-done
	p.Stdout.Close()
	<-written
}

func TestALingeringOutputCanBeSuspended(t *testing.T) {
	p := pipes(t)
	guest, host := connection(t)
	done := serve(t, p.Stdout, guest)
	p.Stdout.Linger(time.Hour)
	freed(t, p.Stdout.Suspend())
	<-done
	if _, err := io.ReadAll(host); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Far()[1].WriteString("later"); err != nil {
		t.Fatal(err)
	}
	p.Stdout.Linger(20 * time.Millisecond)
	guest, host = connection(t)
	serve(t, p.Stdout, guest)
	if got, err := io.ReadAll(host); err != nil || string(got) != "later" {
		t.Errorf("%q, %v", got, err)
	}
}
