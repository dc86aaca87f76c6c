package rehearsal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/vminitd/container"
)

const (
	containerID = "rehearsal"
	execID      = "exec1"
)

// Programs of the placeholder disk, what the first writes, and a user that is known there.
const (
	programTrue = "/bin/true"
	programWait = "/bin/wait" // ends with its input
	programSays = "rehearsal\n"
	user        = "somebody"
)

// begin is what every container begins with: the machine's identity, and the container.
func (h *host) begin(ctx context.Context, m *machine, edit func(*guestv1.CreateContainerRequest), program string) error {
	err := h.call(ctx, guestv1.Agent_Hello_FullMethodName, &guestv1.HelloRequest{Version: "rehearsal", ProtocolMin: 1, ProtocolMax: 1}, &guestv1.HelloResponse{})
	if err != nil {
		return err
	}
	create, err := createRequest(m, program)
	if err != nil {
		return err
	}
	create.Adopt = adoptRequest(m)
	edit(create)
	return h.call(ctx, guestv1.Agent_CreateContainer_FullMethodName, create, &guestv1.CreateContainerResponse{})
}

// start opens the streams of the container's first process, its input too, and runs it. wait waits for its end.
func (h *host) start(ctx context.Context) (s *streams, wait func() (*guestv1.Exit, error), err error) {
	if s, err = h.openStreams(ctx, container.InitProcess, true); err != nil {
		return nil, nil, err
	}
	end, err := h.runFirst(ctx, false)
	if err != nil {
		s.close()
		return nil, nil, err
	}
	return s, func() (*guestv1.Exit, error) {
		response, err := end()
		return response.GetExit(), err
	}, nil
}

// runFirst runs the container's first process. The result waits for its end.
func (h *host) runFirst(ctx context.Context, brief bool) (end func() (*guestv1.RunProcessResponse, error), err error) {
	a, err := h.ask(guestv1.Agent_RunProcess_FullMethodName, &guestv1.RunProcessRequest{ContainerId: containerID, ProcessId: container.InitProcess, Brief: brief})
	if err == nil {
		err = h.part(ctx, a, &guestv1.RunProcessResponse{})
	}
	if err != nil {
		return nil, fmt.Errorf("run the first process: %w", err)
	}
	return func() (*guestv1.RunProcessResponse, error) {
		var response guestv1.RunProcessResponse
		err := h.part(ctx, a, &response)
		if err == nil {
			err = h.end(ctx, a)
		}
		return &response, err
	}, nil
}

// wait returns a function that waits for what has begun here: the end of a process.
func (h *host) wait(ctx context.Context, process string) func() (*guestv1.Exit, error) {
	type end struct {
		exit *guestv1.Exit
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		var response guestv1.WaitProcessResponse
		err := h.call(ctx, guestv1.Agent_WaitProcess_FullMethodName, &guestv1.WaitProcessRequest{ContainerId: containerID, ProcessId: process}, &response)
		ended <- end{response.Exit, err}
	}()
	return func() (*guestv1.Exit, error) {
		e := <-ended
		return e.exit, e.err
	}
}

// expect gathers what a process says until it ends, and is content with one thing only.
func (s *streams) expect(wait func() (*guestv1.Exit, error)) error {
	stdout, err := s.gather()
	exit, waitErr := wait()
	if err := errors.Join(err, waitErr); err != nil {
		return err
	}
	return asExpected(stdout, exit)
}

func asExpected(stdout string, exit *guestv1.Exit) error {
	if exit.GetCode() != 0 || strings.ReplaceAll(stdout, "\r", "") != programSays { // a terminal returns the carriage
		return fmt.Errorf("%s ended with code %d and wrote %.100q", programTrue, exit.GetCode(), stdout)
	}
	return nil
}

// run is `vzctl run IMAGE true`.
func (h *host) run(ctx context.Context, m *machine) error {
	if err := h.begin(ctx, m, func(r *guestv1.CreateContainerRequest) { r.InputEnded = true }, programTrue); err != nil {
		return err
	}
	end, err := h.runFirst(ctx, true)
	if err != nil {
		return err
	}
	last, err := end()
	if err != nil {
		return err
	}
	if err := asExpected(string(last.GetOutput().GetStdout()), last.GetExit()); err != nil {
		return err
	}
	m.reopen = m.runtime.Keep()
	return h.call(ctx, guestv1.Agent_Shutdown_FullMethodName, &guestv1.ShutdownRequest{}, &guestv1.ShutdownResponse{})
}

// exec is a container that goes on, with `--init`, three more processes in it, one of them another user's, and its end by a signal.
func (h *host) exec(ctx context.Context, m *machine) error {
	if err := h.begin(ctx, m, func(r *guestv1.CreateContainerRequest) { r.Init = true }, programWait); err != nil {
		return err
	}
	s, wait, err := h.start(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	for _, f := range []further{{input: true}, {}, {user: user, terminal: true}} {
		if err := h.further(ctx, f); err != nil {
			return err
		}
	}
	err = h.call(ctx, guestv1.Agent_SignalProcess_FullMethodName, &guestv1.SignalProcessRequest{ContainerId: containerID, ProcessId: container.InitProcess,
		Signal: int32(unix.SIGTERM)}, &guestv1.SignalProcessResponse{})
	if err != nil {
		return err
	}
	if _, err := s.gather(); err != nil {
		return err
	}
	if _, err := wait(); err != nil {
		return err
	}
	return h.call(ctx, guestv1.Agent_DeleteContainer_FullMethodName, &guestv1.DeleteContainerRequest{ContainerId: containerID}, &guestv1.DeleteContainerResponse{})
}

// further is `vzctl exec CONTAINER true`, or with -i, or with -t and -u.
type further struct {
	user            string
	input, terminal bool
}

// brief is how long the host waits for the end of a process without input before it asks for its output, in milliseconds.
const brief = 100

func (h *host) further(ctx context.Context, f further) error {
	args, env := []string{programTrue}, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	request := &guestv1.CreateProcessRequest{ContainerId: containerID, ProcessId: execID, User: f.user, Start: true}
	if f.terminal { // which a plain process has not
		text, err := json.Marshal(specs.Process{Terminal: true, Args: args, Cwd: "/", Env: env})
		if err != nil {
			return err
		}
		request.OciProcess = text
	} else {
		request.Plain = &guestv1.PlainProcess{Args: args, Env: env, Cwd: "/"}
	}
	if request.InputEnded = !f.input && !f.terminal; request.InputEnded {
		request.BriefMilliseconds = brief
	}
	created, err := h.launch(ctx, request)
	if err != nil {
		return err
	}
	if created.GetExit() != nil {
		return asExpected(string(created.Stdout), created.Exit)
	}
	var s *streams
	if f.terminal {
		s, err = h.openTerminal(ctx, execID)
	} else {
		s, err = h.openStreams(ctx, execID, f.input)
	}
	if err != nil {
		return err
	}
	defer s.close()
	if f.input {
		if err := s.stdin.CloseWrite(); err != nil {
			return err
		}
	}
	if err := s.expect(h.wait(ctx, execID)); err != nil {
		return err
	}
	s.close()
	return h.call(ctx, guestv1.Agent_DeleteProcess_FullMethodName, &guestv1.DeleteProcessRequest{ContainerId: containerID, ProcessId: execID},
		&guestv1.DeleteProcessResponse{})
}
