package supervisor

import (
	"context"
	"errors"
	"testing"
)

func earlyPlugin(t *testing.T) (*early, *fakeVM) {
	t.Helper()
	vm := newFakeVM(t, t.TempDir())
	running, err := vm.environment().StartHypervisor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := &early{path: "/plugin", cancel: func() {}, started: make(chan struct{}), running: running}
	close(e.started)
	return e, vm
}

func TestAPluginThatWasStartedEarlyServesTheFirstRunOrEnds(t *testing.T) {
	t.Run("it is taken once, and is its taker's then", func(t *testing.T) {
		e, vm := earlyPlugin(t)
		if running, ok, err := e.take(t.Context(), "/plugin"); !ok || err != nil || running == nil {
			t.Fatalf("got %v, %t, %v", running, ok, err)
		}
		if _, ok, _ := e.take(t.Context(), "/plugin"); ok {
			t.Error("it is given twice")
		}
		e.close()
		if !vm.left()["plugin"] {
			t.Error("it was ended although it was taken")
		}
	})
	t.Run("the record names another meanwhile", func(t *testing.T) {
		e, vm := earlyPlugin(t)
		if _, ok, _ := e.take(t.Context(), "/another"); ok {
			t.Error("the wrong one was given")
		}
		e.close()
		if vm.left()["plugin"] {
			t.Error("it goes on")
		}
	})
	t.Run("the start is given up while it is started", func(t *testing.T) {
		e, vm := earlyPlugin(t)
		e.started = make(chan struct{})
		e.cancel = func() { close(e.started) } // it was just ready
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("the network has failed"))
		if _, ok, err := e.take(ctx, "/plugin"); !ok || !errors.Is(err, context.Canceled) { // why it is given up is another's to say
			t.Errorf("got %t, %v", ok, err)
		}
		if vm.left()["plugin"] {
			t.Error("it goes on")
		}
	})
	t.Run("there is none", func(t *testing.T) {
		var e *early
		if _, ok, _ := e.take(t.Context(), "/plugin"); ok {
			t.Error("there is one")
		}
		e.close()
	})
}
