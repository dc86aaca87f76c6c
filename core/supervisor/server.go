package supervisor

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/lifecycle"
	supervisorv1 "github.com/vzctl/vzctl/core/proto/vzctl/supervisor/v1"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

// server answers the control socket.
type server struct {
	supervisorv1.UnimplementedSupervisorServer
	*supervision
}

// Start lets the process run, and tells what became of the start.
func (s *server) Start(ctx context.Context, _ *supervisorv1.StartRequest) (*supervisorv1.StartResponse, error) {
	s.release()
	if err := s.awaitStart(ctx); err != nil {
		return nil, err
	}
	return &supervisorv1.StartResponse{}, nil
}

// Stop ends the container. Once asked for it happens, whether or not the caller stays to see it.
func (s *server) Stop(ctx context.Context, request *supervisorv1.StopRequest) (*supervisorv1.StopResponse, error) {
	if request.Keep {
		s.keep()
	}
	if !request.StillWanted {
		s.unwanted(ctx)
	}
	stopped := make(chan error, 1)
	s.clients.Go(func() {
		stopped <- s.stop(context.WithoutCancel(ctx), int(request.Signal), time.Duration(request.TimeoutMilliseconds)*time.Millisecond)
	})
	select {
	case err := <-stopped:
		if err != nil {
			return nil, err
		}
		return &supervisorv1.StopResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Signal sends a signal.
func (s *server) Signal(ctx context.Context, request *supervisorv1.SignalRequest) (*supervisorv1.SignalResponse, error) {
	if request.ProcessId == "" && (request.Unwanted || s.waiting()) {
		s.unwanted(ctx)
	}
	if request.ProcessId == "" && s.waiting() {
		return &supervisorv1.SignalResponse{}, s.stop(ctx, int(request.Signal), 0)
	}
	if err := s.running(lifecycle.Kill); err != nil {
		return nil, err
	}
	err := s.box.Signal(ctx, processOr(request.ProcessId), int(request.Signal))
	if err == nil && request.ProcessId == "" {
		s.tellLater("kill", map[string]string{"signal": signalName(int(request.Signal))})
	}
	return &supervisorv1.SignalResponse{}, err
}

// Wait waits for the end of a process.
func (s *server) Wait(ctx context.Context, request *supervisorv1.WaitRequest) (*supervisorv1.WaitResponse, error) {
	var (
		outcome sandbox.Outcome
		err     error
	)
	if request.ProcessId == "" {
		outcome, err = s.wait(ctx)
	} else {
		outcome, err = s.box.WaitProcess(ctx, request.ProcessId)
	}
	if err != nil {
		return nil, err
	}
	answer := waitResponse(outcome)
	if request.ProcessId != "" {
		s.tellExecEnd(request.ProcessId, outcome)
	} else {
		answer.Kept = s.kept.Load()
	}
	return answer, nil
}

func waitResponse(o sandbox.Outcome) *supervisorv1.WaitResponse {
	return &supervisorv1.WaitResponse{Code: int32(o.Code), Signal: int32(o.Signal), Reason: o.Reason, Message: o.Message, Time: timestamppb.New(o.Time)}
}

// Update changes limits.
func (s *server) Update(ctx context.Context, request *supervisorv1.UpdateRequest) (*supervisorv1.UpdateResponse, error) {
	if err := s.running(lifecycle.Update); err != nil {
		return nil, err
	}
	return &supervisorv1.UpdateResponse{}, s.box.Update(ctx, request.OciResources, ioLimitsOf(request.IoLimits)...)
}

// Pause lets the VM stand still.
func (s *server) Pause(ctx context.Context, _ *supervisorv1.PauseRequest) (*supervisorv1.PauseResponse, error) {
	if err := s.running(lifecycle.Pause); err != nil {
		return nil, err
	}
	return &supervisorv1.PauseResponse{}, s.pause(ctx)
}

// Unpause lets it go on.
func (s *server) Unpause(ctx context.Context, _ *supervisorv1.UnpauseRequest) (*supervisorv1.UnpauseResponse, error) {
	if err := s.running(lifecycle.Resume); err != nil {
		return nil, err
	}
	return &supervisorv1.UnpauseResponse{}, s.unpause(ctx)
}

// Checkpoint saves the container.
func (s *server) Checkpoint(ctx context.Context, request *supervisorv1.CheckpointRequest) (*supervisorv1.CheckpointResponse, error) {
	if err := s.running(lifecycle.Checkpoint); err != nil {
		return nil, err
	}
	return &supervisorv1.CheckpointResponse{}, s.checkpoint(ctx, request.LeaveRunning, request.LoseConnections)
}

// CheckHealth probes the container now.
func (s *server) CheckHealth(ctx context.Context, _ *supervisorv1.CheckHealthRequest) (*supervisorv1.CheckHealthResponse, error) {
	if err := s.running(lifecycle.Exec); err != nil {
		return nil, err
	}
	if s.prober.check == nil {
		return nil, &fault.Error{Reason: fault.FailedPrecondition, Op: "check health of container", Subject: s.container.Name, Cause: errors.New("it has no health check"),
			Hint: "create it with --health-cmd"}
	}
	result, state, err := s.probe(ctx)
	if err != nil {
		return nil, err
	}
	return &supervisorv1.CheckHealthResponse{ExitCode: int32(result.ExitCode), Output: []byte(result.Output), Status: string(state.Status)}, nil
}

// CreateProcess prepares a process.
func (s *server) CreateProcess(_ context.Context, request *supervisorv1.CreateProcessRequest) (*supervisorv1.CreateProcessResponse, error) {
	id, err := s.createProcess(request)
	return &supervisorv1.CreateProcessResponse{ProcessId: id}, err
}

// StartProcess runs a created process.
func (s *server) StartProcess(ctx context.Context, request *supervisorv1.StartProcessRequest) (*supervisorv1.StartProcessResponse, error) {
	return &supervisorv1.StartProcessResponse{}, s.startProcess(ctx, request.ProcessId)
}

// DeleteProcess forgets a process.
func (s *server) DeleteProcess(_ context.Context, request *supervisorv1.DeleteProcessRequest) (*supervisorv1.DeleteProcessResponse, error) {
	return &supervisorv1.DeleteProcessResponse{}, s.box.DeleteProcess(request.ProcessId)
}

// Resize sets the size of a terminal.
func (s *server) Resize(ctx context.Context, request *supervisorv1.ResizeRequest) (*supervisorv1.ResizeResponse, error) {
	if err := s.running(lifecycle.Attach); err != nil {
		return nil, err
	}
	return &supervisorv1.ResizeResponse{}, s.box.Resize(ctx, processOr(request.ProcessId), request.Width, request.Height)
}

// running refuses what only a running container can do, and while it is paused what that does not allow.
func (s *supervision) running(event lifecycle.Event) error {
	select {
	case <-s.started:
		if s.startErr != nil {
			return s.startErr
		}
		if _, err := lifecycle.Next(lifecycle.Paused, event); err == nil || event == lifecycle.Pause || !s.box.Paused() {
			return nil
		}
		return &lifecycle.TransitionError{Container: s.name(), State: lifecycle.Paused, Event: event}
	default:
		return &lifecycle.TransitionError{Container: s.container.Name, State: lifecycle.Starting, Event: event}
	}
}

func processOr(id string) string {
	if id == "" {
		return agent.InitProcess
	}
	return id
}

var errStopped = &fault.Error{Reason: fault.FailedPrecondition, Op: "start container", Cause: errors.New("it was stopped before it ran")}

func exitOf(o sandbox.Outcome) *store.Exit {
	return &store.Exit{Code: o.Code, Signal: o.Signal, Reason: lifecycle.Reason(o.Reason), Message: o.Message, Time: o.Time}
}
