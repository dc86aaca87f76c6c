package sandbox

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/hypervisor"
	"github.com/vzctl/vzctl/sdk/network"
)

// impatient finds out quickly; what is tested is the order of things.
var impatient = probing{every: time.Millisecond, tell: 5 * time.Millisecond, patience: 20 * time.Millisecond, misses: 2}

func silent(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestAGuestThatStopsAnsweringIsHungAndItsVMIsEnded(t *testing.T) {
	w := newWorld(t)
	w.probing, w.answers = impatient, silent
	outcome := w.wait(w.start())
	if outcome.Reason != GuestHung || outcome.Code != 137 {
		t.Errorf("outcome %+v", outcome)
	}
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	for _, call := range w.calls {
		if call == "shutdown" {
			t.Error("a hung guest was asked to shut down")
		}
	}
}

// A guest that does not answer is told of long before its VM is ended for it, and that it answers again, too.
func TestAGuestThatDoesNotAnswerForAWhileIsToldOf(t *testing.T) {
	w := newWorld(t)
	w.probing = probing{every: time.Millisecond, tell: 5 * time.Millisecond, patience: time.Minute, misses: 1}
	w.pid = os.Getpid()
	stuck := make(chan struct{})
	w.answers = func(ctx context.Context) error {
		select {
		case <-stuck:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	told := make(chan string)
	w.unresponsive = func(why string) { told <- why }
	s := w.start()
	if why := <-told; !strings.HasPrefix(why, "the guest does not answer; its VM is ") {
		t.Errorf("told %q", why)
	}
	close(stuck)
	if why := <-told; why != "" {
		t.Errorf("when it answers again %q is told", why)
	}
	w.exits(&guestv1.Exit{Code: 3})
	if outcome := w.wait(s); outcome.Reason != Exited {
		t.Errorf("outcome %+v", outcome)
	}
}

func TestAGuestThatStandsStillForAPauseIsNotToldOf(t *testing.T) {
	w := newWorld(t)
	w.probing = probing{every: time.Millisecond, tell: 5 * time.Millisecond, patience: 20 * time.Millisecond, misses: 1000}
	asked, paused := make(chan struct{}, 1000), make(chan struct{})
	w.answers = func(ctx context.Context) error {
		select {
		case <-paused:
			asked <- struct{}{}
			return silent(ctx)
		default:
			return nil
		}
	}
	told := make(chan string, 1000)
	w.unresponsive = func(why string) { told <- why }
	s := w.start()
	if err := s.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(paused)
	time.Sleep(5 * w.probing.patience)
	if len(told) > 0 {
		t.Errorf("told %q", <-told)
	}
	if err := s.Unpause(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-told // it does not answer after the pause either
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

func TestWhatAVMDoesWhileItsGuestIsSilentTellsTheKindsApart(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // nobody tells there
	}
	for _, test := range []struct{ name, script, want string }{
		{"it stands", "sleep 60", "; its VM is idle"},
		{"it runs in circles", "while :; do :; done", "; its VM is busy, with "},
		{"somebody has stopped it", "kill -STOP $$", "is stopped by a signal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			vm := exec.Command("sh", "-c", test.script)
			if err := vm.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = vm.Process.Kill(), vm.Wait() }()
			q := quiet{pid: vm.Process.Pid}
			if test.want == "; its VM is idle" {
				time.Sleep(200 * time.Millisecond) // it begins with some work
			}
			q.begin()
			said := ""
			for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline) && !strings.Contains(said, test.want); time.Sleep(50 * time.Millisecond) {
				said = q.meanwhile()
			}
			if !strings.Contains(said, test.want) {
				t.Errorf("it says %q", said)
			}
		})
	}
	q := quiet{pid: 1 << 30}
	if q.begin(); q.meanwhile() != "" {
		t.Errorf("of no process it says %q", q.meanwhile())
	}
}

func TestOneProbeLateProvesNothing(t *testing.T) {
	w := newWorld(t)
	w.probing = impatient
	var probes atomic.Int32
	enough := make(chan struct{})
	w.answers = func(ctx context.Context) error {
		switch n := probes.Add(1); {
		case n == 40:
			close(enough)
		case n%2 == 1:
			return silent(ctx)
		}
		return nil
	}
	s := w.start()
	soon(t, "40 probes", enough)
	select {
	case <-s.ending:
		t.Errorf("a slow guest was ended: %+v", s.outcome)
	default:
	}
	w.exits(&guestv1.Exit{Code: 3})
	if outcome := w.wait(s); outcome.Reason != Exited || outcome.Code != 3 {
		t.Errorf("outcome %+v", outcome)
	}
}

func TestAVMThatEndsIsNotTakenForAHungGuest(t *testing.T) {
	w := newWorld(t)
	w.probing = impatient
	w.answers = func(ctx context.Context) error {
		err := silent(ctx)
		select {
		case w.vmEnds <- &hypervisor.Exit{Reason: hypervisor.Crashed, Message: "QEMU was killed"}:
		default:
		}
		return err
	}
	if outcome := w.wait(w.start()); outcome.Reason != VMCrashed {
		t.Errorf("outcome %+v", outcome)
	}
}

// Its agent goes with it, and that may be known first.
func TestAVMThatEndsWhileItBootsIsSaidTo(t *testing.T) {
	w := newWorld(t)
	w.fail["dial"] = errors.New("connection refused")
	time.AfterFunc(50*time.Millisecond, func() { w.vmEnds <- &hypervisor.Exit{Reason: hypervisor.Crashed, Message: "QEMU was killed"} })
	if err := New(w.spec(), w.environment()).Start(t.Context()); err == nil || !strings.Contains(err.Error(), "the VM ended while booting (crashed): QEMU was killed") {
		t.Errorf("error %v", err)
	}
	w = newWorld(t)
	w.fail["dial"] = errors.New("it speaks something else")
	if err := New(w.spec(), w.environment()).Start(t.Context()); err == nil || !strings.Contains(err.Error(), "it speaks something else") {
		t.Errorf("of a VM that goes on: %v", err)
	}
}

func TestOneWhoIsAttachedAndDoesNotReadKeepsNoVM(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	near, _ := net.Pipe() // nobody reads the other end
	if err := s.Stdout.Attach(near, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.process[guestv1.StreamKind_STREAM_KIND_STDOUT].Write([]byte("more than is read")); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context(), sigkill, 0); err != nil {
		t.Fatal(err)
	}
	if string(w.log) != "more than is read" {
		t.Errorf("logged %q", w.log)
	}
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestWhatAVMWroteBeforeItCrashedIsNotLost(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	if _, err := w.process[guestv1.StreamKind_STREAM_KIND_STDOUT].Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	w.vmEnds <- &hypervisor.Exit{Reason: hypervisor.Crashed}
	w.wait(s)
	if string(w.log) != "last words" {
		t.Errorf("logged %q", w.log)
	}
}

func TestPathsOfAPluginThatLieElsewhereAreRefused(t *testing.T) {
	elsewhere := newWorld(t).vsock // a socket, of another sandbox
	tests := map[string]func(w *world){
		"the VM's socket":             func(w *world) { w.vsock = elsewhere },
		"a socket that is not there":  func(w *world) { w.vsock = filepath.Join(w.dir, "missing") },
		"the VM's end of a link":      func(w *world) { w.link.UnixDatagram.VMPath = "/tmp/elsewhere" },
		"the network's end of a link": func(w *world) { w.link.UnixDatagram.NetworkPath = "/tmp/elsewhere" },
		"a stream link":               func(w *world) { w.link = network.Link{UnixStream: &network.UnixStream{NetworkPath: "/tmp/elsewhere"}} },
	}
	for name, lie := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			lie(w)
			if err := New(w.spec(), w.environment()).Start(t.Context()); err == nil {
				t.Fatal("it was used")
			}
			if left := w.remains(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}
