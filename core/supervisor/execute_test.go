package supervisor

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vzctl/vzctl/core/agent"
	supervisorv1 "github.com/vzctl/vzctl/core/proto/vzctl/supervisor/v1"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

func TestAProcessThatEndsAtOnceIsOneRequest(t *testing.T) {
	r := newRig(t, nil)
	r.vm.brief = func(*guestv1.CreateProcessRequest) *guestv1.CreateProcessResponse {
		return &guestv1.CreateProcessResponse{Exit: &guestv1.Exit{Code: 3}, Stdout: []byte("said"), Stderr: []byte("cried")}
	}
	r.start()
	for range 2 {
		all, err := r.client.Execute(r.context(), ProcessRequest{Args: []string{"true"}})
		if err != nil || all.Process != "" || all.Exit.Code != 3 || string(all.Stdout) != "said" || string(all.Stderr) != "cried" {
			t.Errorf("%+v, %v", all, err)
		}
	}
	r.await("exec_die")
	if _, err := r.client.Wait(r.context(), "exec1"); !errors.Is(err, fault.NotFound) {
		t.Errorf("it is not forgotten: %v", err)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if told := r.told(); !slices.Equal(told, []string{"start", "exec_start", "exec_die", "exec_start", "exec_die", "die"}) {
		t.Errorf("told are %q", told)
	}
}

func TestAProcessThatGoesOnWaitsForItsStreams(t *testing.T) {
	r := newRig(t, nil)
	r.vm.answer = func(context.Context) (*guestv1.Exit, error) { return &guestv1.Exit{Code: 7}, nil }
	r.start()
	all, err := r.client.Execute(r.context(), ProcessRequest{Args: []string{"sleep", "1"}})
	if err != nil || all.Process == "" || !all.Exit.Time.IsZero() {
		t.Fatalf("%+v, %v", all, err)
	}
	stdout, err := r.client.OpenStream(r.context(), all.Process, Stdout, false)
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	if _, err := io.ReadAll(stdout); err != nil {
		t.Error(err)
	}
	if exit, err := r.client.Wait(r.context(), all.Process); err != nil || exit.Code != 7 {
		t.Errorf("%+v, %v", exit, err)
	}
	if err := r.client.DeleteProcess(r.context(), all.Process); err != nil {
		t.Error(err)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

func TestAProcessThatCannotBeExecutedIsForgotten(t *testing.T) {
	r := newRig(t, nil)
	r.vm.fail["exec"] = &fault.Error{Reason: fault.NotFound, Op: "execute", Subject: "nosuch"}
	r.start()
	_, err := r.client.Execute(r.context(), ProcessRequest{Args: []string{"nosuch"}})
	if e, ok := err.(*fault.Error); !ok || e.Op != "execute" || e.Reason != fault.NotFound || e.Subject != "nosuch" { // which exit codes are made of
		t.Errorf("a program that is not there: %#v", err)
	}
	if _, err := r.client.Execute(r.context(), ProcessRequest{}); !errors.Is(err, fault.Invalid) {
		t.Errorf("a program without a name: %v", err)
	}
	if _, err := r.client.Wait(r.context(), "exec1"); !errors.Is(err, fault.NotFound) {
		t.Errorf("it is not forgotten: %v", err)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if _, err := r.client.Execute(r.context(), ProcessRequest{Args: []string{"true"}}); !errors.Is(err, fault.Unavailable) {
		t.Errorf("without a supervisor: %v", err)
	}
}

// A caller that leaves while the process is being started still hears of it, so that it can end it.
func TestACallerThatLeavesHearsOfWhatItHasStarted(t *testing.T) {
	r := newRig(t, nil)
	ctx, leave := context.WithCancel(r.context())
	r.vm.brief = func(*guestv1.CreateProcessRequest) *guestv1.CreateProcessResponse {
		leave()
		return &guestv1.CreateProcessResponse{}
	}
	r.start()
	all, err := r.client.Execute(ctx, ProcessRequest{Args: []string{"sleep", "1"}})
	if err != nil || all.Process == "" {
		t.Fatalf("%+v, %v", all, err)
	}
	if err := r.client.DeleteProcess(r.context(), all.Process); err != nil {
		t.Error(err)
	}
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
}

// TestAnOlderSupervisorIsAskedStepByStep has one that knows no requests on its stream socket, and says so as of a stream.
func TestAnOlderSupervisorIsAskedStepByStep(t *testing.T) {
	r := newRig(t, nil)
	listener, err := net.Listen("unix", filepath.Join(r.s.run, streamSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if agent.ReadHeader(conn, &supervisorv1.StreamRequest{}) == nil {
			_ = agent.WriteHeader(conn, &supervisorv1.StreamResponse{Error: "there is no such stream"})
		}
		_, _ = io.Copy(io.Discard, conn)
	}()
	if all, err := r.client.Execute(r.context(), ProcessRequest{Args: []string{"true"}}); !errors.Is(err, fault.Unsupported) {
		t.Errorf("%+v, %v", all, err)
	}
}
