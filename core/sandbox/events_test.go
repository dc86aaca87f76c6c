package sandbox

import (
	"testing"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

func TestWhatTheGuestTellsOfMemoryIsHeardAlsoAfterALostConnection(t *testing.T) {
	w := newWorld(t)
	w.probing = impatient
	heard := make(chan struct{})
	env := w.environment()
	env.OutOfMemory = func() { heard <- struct{}{} }
	s := New(w.spec(), env)
	s.probing = w.probing
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	lacks := func(container string) *guestv1.WatchResponse {
		return &guestv1.WatchResponse{ContainerId: container, Event: &guestv1.WatchResponse_OutOfMemory{OutOfMemory: &guestv1.OutOfMemory{}}}
	}
	w.events <- lacks("web")
	<-heard
	w.events <- nil
	w.events <- lacks("another")
	w.events <- &guestv1.WatchResponse{ContainerId: "web", Event: &guestv1.WatchResponse_Exit{Exit: &guestv1.Exit{}}}
	w.events <- lacks("web")
	<-heard
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

// A guest whose kernel kills without end, or says so, fills nobody's event log.
func TestAGuestThatLacksMemoryWithoutEndIsHeardNowAndThen(t *testing.T) {
	w := newWorld(t)
	w.probing = impatient
	heard := 0
	env := w.environment()
	env.OutOfMemory = func() { heard++ }
	s := New(w.spec(), env)
	s.probing = w.probing
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 10_000 {
		w.events <- &guestv1.WatchResponse{ContainerId: "web", Event: &guestv1.WatchResponse_OutOfMemory{OutOfMemory: &guestv1.OutOfMemory{}}}
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
	if heard == 0 || heard > 100 {
		t.Errorf("%d of 10000 were heard", heard)
	}
}
