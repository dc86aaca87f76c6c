package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/lifecycle"
	supervisorv1 "github.com/vzctl/vzctl/core/proto/vzctl/supervisor/v1"
	"github.com/vzctl/vzctl/core/runtimespec"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/sdk/fault"
)

const (
	// maxExecute bounds the request of a process, in bytes: the longest arguments and environment that execve takes, and room.
	maxExecute = 8 << 20
	// maxExecuted bounds its answer, in bytes.
	maxExecuted = 1 << 20
	// executeGrace is how long a caller that leaves waits for an answer, so that it can end what runs by then.
	executeGrace = 10 * time.Second
)

// createProcess takes note of a process with the container's environment.
func (s *supervision) createProcess(request *supervisorv1.CreateProcessRequest) (id string, err error) {
	if err := s.running(lifecycle.Exec); err != nil {
		return "", err
	}
	env, err := runtimespec.Environment(s.container.Process.Env, request.Env)
	if err != nil {
		return "", err
	}
	dir, user := request.WorkingDir, request.User
	if dir == "" {
		dir = s.container.Process.WorkingDir
	}
	if user == "" {
		user = s.container.Process.User
	}
	process, err := runtimespec.Process(request.Args, env, dir, request.Terminal)
	if err != nil {
		return "", err
	}
	runtimespec.SetConsoleSize(process, request.Width, request.Height)
	if request.Privileged {
		runtimespec.Privileged(process)
	}
	body, err := json.Marshal(process)
	if err != nil {
		return "", err
	}
	return s.box.CreateProcess(sandbox.ProcessRequest{OCIProcess: body, User: user, Terminal: request.Terminal, Detached: request.Detached,
		NoInput: request.NoInput, Ordered: request.Ordered})
}

func (s *supervision) startProcess(ctx context.Context, id string) error {
	err := s.box.StartProcess(ctx, id)
	if err == nil {
		s.tellLater("exec_start", map[string]string{"execId": id})
	}
	return err
}

func (s *supervision) tellExecEnd(id string, o sandbox.Outcome) {
	s.tellLater("exec_die", map[string]string{"execId": id, "exitCode": strconv.Itoa(o.Code)})
}

// serveExecute answers one request of kind EXECUTE, and closes the connection.
func (s *supervision) serveExecute(ctx context.Context, conn net.Conn) (err error) {
	defer func() { err = errors.Join(err, conn.Close()) }()
	var request supervisorv1.CreateProcessRequest
	if err := agent.ReadMessage(conn, &request, maxExecute); err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		_, _ = conn.Read(make([]byte, 1)) // a caller says nothing more, and this ends when it goes
	}()
	answer, err := s.execute(ctx, &request)
	if err != nil {
		failure, err := fault.Marshal(err)
		if err != nil {
			return err
		}
		answer = &supervisorv1.ExecuteResponse{Error: failure}
	}
	if err = agent.WriteMessages(conn, answer); err != nil && answer.ProcessId != "" { // nobody knows of it
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), executeGrace)
		defer cancel()
		err = errors.Join(err, s.box.Signal(ending, answer.ProcessId, sigkill), s.box.DeleteProcess(answer.ProcessId))
	}
	return err
}

// execute runs a further process.
func (s *supervision) execute(ctx context.Context, request *supervisorv1.CreateProcessRequest) (*supervisorv1.ExecuteResponse, error) {
	id, err := s.createProcess(request)
	if err != nil {
		return nil, err
	}
	if err := s.startProcess(ctx, id); err != nil {
		if deleteErr := s.box.DeleteProcess(id); deleteErr != nil {
			err = errors.Join(err, deleteErr)
		}
		return nil, err
	}
	brief := s.box.TakeBrief(id)
	if brief == nil {
		return &supervisorv1.ExecuteResponse{ProcessId: id}, nil
	}
	s.tellExecEnd(id, brief.Outcome)
	return &supervisorv1.ExecuteResponse{End: waitResponse(brief.Outcome), Stdout: brief.Stdout, Stderr: brief.Stderr}, nil
}

// Executed is a process that has executed.
type Executed struct {
	// Process is its id, if it runs; its streams can be opened, and wait for that. Otherwise it has ended, and is forgotten.
	Process        string
	Exit           Exit
	Stdout, Stderr []byte // all that it wrote
}

// Execute is CreateProcess and StartProcess, and all else of a process that ends at once. It has neither input nor a terminal, and nobody sees the order of what it writes to its two outputs. When
// ctx ends it may still return a process that runs: which is the caller's to end. fault.Unsupported: the supervisor is older, and CreateProcess is to be called.
func (c *Client) Execute(ctx context.Context, p ProcessRequest) (Executed, error) {
	conn, err := c.dial(ctx, streamSocket)
	if err != nil {
		return Executed{}, c.executeLost(ctx, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now().Add(executeGrace)) })
	defer stop()
	p.NoInput = true
	var answer supervisorv1.ExecuteResponse
	err = agent.WriteMessages(conn, &supervisorv1.StreamRequest{Kind: supervisorv1.StreamKind_STREAM_KIND_EXECUTE}, p.wire())
	if err == nil {
		err = agent.ReadMessage(conn, &answer, maxExecuted)
	}
	if err != nil {
		return Executed{}, c.executeLost(ctx, err)
	}
	if len(answer.Error) > 0 {
		failure, ok := fault.Unmarshal(answer.Error)
		if !ok {
			failure = c.executeLost(ctx, errors.New("it says that it failed, but not why"))
		}
		return Executed{}, failure
	}
	if answer.ProcessId == "" && answer.End == nil {
		return Executed{}, errOlder
	}
	exit := exitFrom(answer.End)
	return Executed{Process: answer.ProcessId, Exit: exit, Stdout: answer.Stdout, Stderr: answer.Stderr}, nil
}

// errOlder is the answer of a supervisor that began before this vzctl was installed: it refuses a kind of stream that it does not know, and has done nothing.
var errOlder = &fault.Error{Reason: fault.Unsupported, Op: "execute in container", Cause: errors.New("its supervisor is older")}

func (c *Client) executeLost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &fault.Error{Reason: fault.Unavailable, Op: "execute in container", Cause: errors.Join(errors.New("the container's supervisor gave no answer"), err)}
}
