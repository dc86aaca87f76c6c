package stdio

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
)

func TestASuspendedOutputWaitsForNobodyAndLosesNothing(t *testing.T) {
	var o Output
	near, slow := net.Pipe()
	if err := o.Attach(near, nil); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var logged bytes.Buffer
	reached := make(chan struct{})
	log := func(p []byte) error {
		mu.Lock()
		defer mu.Unlock()
		if logged.Len() == 0 {
			close(reached)
		}
		logged.Write(p)
		return nil
	}
	src, process := io.Pipe()
	copied := make(chan error)
	go func() { copied <- o.Copy(src, log) }()
	go func() {
		for range 100 {
			_, _ = process.Write(bytes.Repeat([]byte("x"), 1000))
		}
		_ = process.Close()
	}()
	<-reached // it waits for the client now
	o.Suspend()
	if err := <-copied; err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if logged.Len() != 100_000 {
		t.Errorf("the log has %d bytes", logged.Len())
	}
	mu.Unlock()
	late, never := net.Pipe() // attached while nothing comes
	if err := o.Attach(late, nil); err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte)
	for _, end := range []net.Conn{slow, never} {
		go func() { all, _ := io.ReadAll(end); got <- all }()
	}
	o.Resume()
	if err := o.Copy(bytes.NewReader([]byte("more")), log); err != nil {
		t.Fatal(err)
	}
	if a, b := len(<-got), len(<-got); min(a, b) != 4 || max(a, b) != 100_004 {
		t.Errorf("the clients got %d and %d bytes", a, b)
	}
}

func TestTheEndOfASuspendedOutputGivesWhatWasKept(t *testing.T) {
	var o Output
	near, far := net.Pipe()
	_, deaf := net.Pipe()
	for _, conn := range []net.Conn{near, deaf} {
		if err := o.Attach(conn, nil); err != nil {
			t.Fatal(err)
		}
	}
	o.Suspend()
	if err := o.Copy(bytes.NewReader([]byte("last words")), noLog); err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte)
	go func() { all, _ := io.ReadAll(far); got <- all }()
	o.End()
	if all := <-got; string(all) != "last words" {
		t.Errorf("got %q", all)
	}
}

// tcp is a pipe with deadlines and half-close.
func tcp(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

func TestASuspendedInputGoesOnWithTheByteThatWasNotSent(t *testing.T) {
	in := NewInput()
	near, far := tcp(t)
	if err := in.Open(near); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 32<<20) // more than a connection holds that nobody reads
	for i := range want {
		want[i] = byte(i % 251)
	}
	done := make(chan error)
	go func() { done <- in.Copy(t.Context(), bytes.NewReader(want), true) }()
	got := make([]byte, 1<<20)
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	sent, ended := in.Suspend()
	if ended || sent < uint64(len(got)) || sent >= uint64(len(want)) {
		t.Fatalf("%d bytes were sent, ended: %v", sent, ended)
	}
	rest := make([]byte, sent-uint64(len(got)))
	if _, err := io.ReadFull(far, rest); err != nil {
		t.Fatal(err)
	}
	got = append(got, rest...)
	if err := in.Reopen(); err != nil { // on the same stream
		t.Fatal(err)
	}
	in.Suspend()
	again, other := tcp(t)
	near.CloseWrite()
	rest, err := io.ReadAll(far)
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, rest...)
	if err := in.Open(again); err != nil { // and on another
		t.Fatal(err)
	}
	rest, err = io.ReadAll(other)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(got, rest...), want) {
		t.Error("bytes are lost, or doubled")
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnInputThatEndsWhileItIsSuspendedEndsWithTheNextStream(t *testing.T) {
	for name, reopen := range map[string]bool{"the same": true, "another": false} {
		t.Run(name, func(t *testing.T) {
			in := NewInput()
			var first, second target
			if err := in.Open(&first); err != nil {
				t.Fatal(err)
			}
			in.Suspend()
			if err := in.Close(); err != nil || first.closes != 0 {
				t.Errorf("%v, closed %d times", err, first.closes)
			}
			if reopen {
				if err := in.Reopen(); err != nil || first.closes != 1 {
					t.Errorf("%v, closed %d times", err, first.closes)
				}
			} else if err := in.Open(&second); err != nil || second.closes != 1 || first.closes != 0 {
				t.Errorf("%v, closed %d and %d times", err, first.closes, second.closes)
			}
		})
	}
}
