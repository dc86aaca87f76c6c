package stdio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

func noLog([]byte) error { return nil }

func TestEveryClientAndTheLogGetAllBytesInOrder(t *testing.T) {
	var o Output
	var logged bytes.Buffer
	want := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	var readers sync.WaitGroup
	for range 3 {
		near, far := net.Pipe()
		if err := o.Attach(near, nil); err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			got, err := io.ReadAll(far)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("client got %d bytes of %d, error %v", len(got), len(want), err)
			}
		})
	}
	if err := o.Copy(bytes.NewReader(want), func(p []byte) error { logged.Write(p); return nil }); err != nil {
		t.Fatal(err)
	}
	readers.Wait()
	if !bytes.Equal(logged.Bytes(), want) {
		t.Errorf("the log got %d bytes of %d", logged.Len(), len(want))
	}
}

func TestAClientThatLeavesHurtsNobody(t *testing.T) {
	var o Output
	gone, far := net.Pipe()
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if err := o.Attach(gone, nil); err != nil {
		t.Fatal(err)
	}
	near, stays := net.Pipe()
	if err := o.Attach(near, nil); err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte)
	go func() { all, _ := io.ReadAll(stays); got <- all }()
	if err := o.Copy(bytes.NewReader([]byte("all of it")), noLog); err != nil {
		t.Fatal(err)
	}
	if s := string(<-got); s != "all of it" {
		t.Errorf("the client that stayed got %q", s)
	}
}

func TestALogThatFailsDoesNotStopTheStream(t *testing.T) {
	var o Output
	full := errors.New("no space left on device")
	near, far := net.Pipe()
	if err := o.Attach(near, nil); err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte)
	go func() { all, _ := io.ReadAll(far); got <- all }()
	err := o.Copy(bytes.NewReader([]byte("output")), func([]byte) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("error %v, want that of the log", err)
	}
	if s := string(<-got); s != "output" {
		t.Errorf("the client got %q", s)
	}
}

func TestAttachAfterTheEndEndsAtOnce(t *testing.T) {
	var o Output
	if err := o.Copy(bytes.NewReader(nil), noLog); err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	if err := o.Attach(near, nil); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(far); err != nil || len(all) != 0 {
		t.Errorf("read %q, %v", all, err)
	}
}

// target records what a process's input gets.
type target struct {
	bytes.Buffer
	closes int
}

func (t *target) CloseWrite() error                { t.closes++; return nil }
func (t *target) SetWriteDeadline(time.Time) error { return nil }

func TestInputWaitsForTheStreamAndEndsWithItsClient(t *testing.T) {
	in := NewInput()
	done := make(chan error)
	go func() { done <- in.Copy(t.Context(), bytes.NewReader([]byte("typed early")), true) }()
	var got target
	if err := in.Open(&got); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got.String() != "typed early" || got.closes != 1 {
		t.Errorf("got %q, closed %d times", got.String(), got.closes)
	}
	if err := in.Copy(t.Context(), bytes.NewReader([]byte("too late")), true); err != nil || got.String() != "typed early" || got.closes != 1 {
		t.Errorf("behind the end: %v, %q, closed %d times", err, got.String(), got.closes)
	}
}

func TestInputStaysOpenForOthers(t *testing.T) {
	in := NewInput()
	var got target
	if err := in.Open(&got); err != nil {
		t.Fatal(err)
	}
	for _, piece := range []string{"one ", "two"} {
		if err := in.Copy(t.Context(), bytes.NewReader([]byte(piece)), false); err != nil {
			t.Fatal(err)
		}
	}
	if got.String() != "one two" || got.closes != 0 {
		t.Errorf("got %q, closed %d times", got.String(), got.closes)
	}
}

func TestInputWithoutAStreamEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := NewInput().Copy(ctx, bytes.NewReader([]byte("x")), true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestWhoHasHeardThatItIsAttachedMissesNothing(t *testing.T) {
	var o Output
	near, far := net.Pipe()
	src, process := io.Pipe()
	copied := make(chan error)
	go func() { copied <- o.Copy(src, noLog) }()
	attached := make(chan error)
	go func() {
		attached <- o.Attach(near, func() error { _, err := near.Write([]byte("welcome ")); return err })
	}()
	greeting := make([]byte, len("welcome "))
	if _, err := io.ReadFull(far, greeting); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = process.Write([]byte("at once")); process.Close() }()
	if got, err := io.ReadAll(far); string(greeting)+string(got) != "welcome at once" || err != nil {
		t.Errorf("got %q and %q, %v", greeting, got, err)
	}
	if err := errors.Join(<-attached, <-copied); err != nil {
		t.Error(err)
	}
}

func TestAClientThatCannotBeGreetedIsNotAttached(t *testing.T) {
	var o Output
	near, far := net.Pipe()
	deaf := errors.New("it is gone")
	if err := o.Attach(near, func() error { return deaf }); !errors.Is(err, deaf) {
		t.Errorf("error %v", err)
	}
	if _, err := far.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("its connection: %v", err)
	}
	if err := o.Copy(bytes.NewReader([]byte("output")), noLog); err != nil {
		t.Error(err)
	}
}

func TestTheEndLetsGoOfOneWhoDoesNotRead(t *testing.T) {
	var o Output
	near, _ := net.Pipe()
	if err := o.Attach(near, nil); err != nil {
		t.Fatal(err)
	}
	logged := make(chan struct{})
	copied := make(chan error)
	go func() {
		copied <- o.Copy(bytes.NewReader([]byte("output")), func([]byte) error { close(logged); return nil })
	}()
	<-logged
	o.End()
	if err := <-copied; err != nil {
		t.Error(err)
	}
}
