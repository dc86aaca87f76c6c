package sandbox

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/hypervisor"
)

func TestOnlyTheGuestOfACopyNeedNotBeAsked(t *testing.T) {
	for name, test := range map[string]struct {
		cloned   bool
		restored *Restore
		copied   bool
	}{
		"booted":                       {false, nil, false},
		"copied":                       {true, nil, true},
		"restored":                     {false, &Restore{}, false},
		"restored, and said to be one": {true, &Restore{}, false}, // who speaks is whoever was saved
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			spec := w.spec()
			spec.Restore = test.restored
			s := New(spec, w.environment())
			s.hypervisor, s.vm = &machine{world: w}, hypervisor.VM{VsockPath: w.vsock, Cloned: test.cloned}
			if err := s.agentStep().Do(t.Context()); err != nil {
				t.Fatal(err)
			}
			if w.copied != test.copied {
				t.Errorf("dialled as a copy: %v", w.copied)
			}
		})
	}
}

func TestTheTimelineOfACopyKnowsNoBoot(t *testing.T) {
	w := newWorld(t)
	w.cloned = true
	s := w.start()
	if !w.copied {
		t.Error("it was dialled as one that was booted")
	}
	for _, p := range s.Timeline() {
		if p.Where == inGuest {
			t.Errorf("%+v", p)
		}
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}

// The first answer of a guest that is not asked what it can do is that to CreateContainer.
func TestAGuestThatDoesNotAnswerItsFirstCallIsNotAskedToShutDown(t *testing.T) {
	lost := &fault.Error{Reason: fault.Unavailable, Op: "create container", Cause: errors.New("the guest's agent: the connection is lost")}
	for name, test := range map[string]struct {
		err      error
		end      *hypervisor.Exit // of the VM
		says     string
		shutdown bool
	}{
		"its VM ends":  {lost, &hypervisor.Exit{Reason: hypervisor.Crashed, Message: "QEMU was killed"}, "the VM ended before its guest answered (crashed): QEMU was killed", false},
		"its VM stays": {lost, nil, "prepare the container in the VM: create container: the guest's agent: the connection is lost", false},
		"it refuses":   {&fault.Error{Reason: fault.NotFound, Op: "find user", Subject: "eve"}, nil, "find user", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.cloned = true
			w.fail["create container"] = test.err
			if test.end != nil {
				time.AfterFunc(50*time.Millisecond, func() { w.vmEnds <- test.end })
			}
			if err := New(w.spec(), w.environment()).Start(t.Context()); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v", err)
			}
			if asked := slices.Contains(w.calls, "shutdown"); asked != test.shutdown {
				t.Errorf("asked to shut down: %v", asked)
			}
			if left := w.remains(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// mute is a guest that takes the call, and no more.
type mute struct{ *guest }

func (mute) CreateContainer(ctx context.Context, _ *guestv1.CreateContainerRequest, _ ...grpc.CallOption) (*guestv1.CreateContainerResponse, error) {
	<-ctx.Done()
	return nil, &fault.Error{Reason: fault.Unavailable, Op: "create container", Cause: ctx.Err()}
}

func TestAGuestThatHangsWithItsFirstCallEndsWithTheCallersTime(t *testing.T) {
	w := newWorld(t)
	w.cloned = true
	env := w.environment()
	env.Dial = func(context.Context, string, bool) (Guest, error) {
		w.made("agent")
		return mute{&guest{world: w}}, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := New(w.spec(), env).Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if slices.Contains(w.calls, "shutdown") {
		t.Error("it was asked to shut down")
	}
	if left := w.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
