package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// featureLaunch is the guest's ability to create processes over a stream.
const featureLaunch = "launch"

// maxLaunching is how many connections of that kind there are at most. What comes when all are in use is a call: the machine's own work is what takes its time then, and it holds but so many streams.
const maxLaunching = 2

// launching are connections for CreateProcess, which are kept.
type launching struct {
	mu     sync.Mutex
	idle   []net.Conn
	count  int // of the idle ones, and those in use
	closed bool
}

// reserve returns an idle connection, or whether a new one may be opened. The caller owns it, and calls release.
func (l *launching) reserve() (conn net.Conn, allowed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := len(l.idle) - 1; last >= 0 {
		conn, l.idle = l.idle[last], l.idle[:last]
		return conn, true
	}
	if l.closed || l.count >= maxLaunching {
		return nil, false
	}
	l.count++
	return nil, true
}

// release takes a connection back; nil: it is of no use any more.
func (l *launching) release(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if conn != nil && !l.closed {
		l.idle = append(l.idle, conn)
		return
	}
	l.count--
	if conn != nil {
		_ = conn.Close()
	}
}

func (l *launching) close() (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, conn := range l.idle {
		err = errors.Join(err, conn.Close())
	}
	l.idle = nil
	return err
}

// CreateProcess is the call of this name. To an emulated guest a call of gRPC takes as long as half of the process; so it is made over a stream if the guest can do that.
func (c *Client) CreateProcess(ctx context.Context, request *guestv1.CreateProcessRequest, options ...grpc.CallOption) (*guestv1.CreateProcessResponse, error) {
	if !c.Offers(featureLaunch) {
		return c.AgentClient.CreateProcess(ctx, request, options...)
	}
	conn, allowed := c.launching.reserve()
	if !allowed {
		return c.AgentClient.CreateProcess(ctx, request, options...)
	}
	if conn == nil {
		var err error
		if conn, err = c.OpenStream(ctx, &guestv1.StreamRequest{Kind: guestv1.StreamKind_STREAM_KIND_LAUNCH}); err != nil {
			c.launching.release(nil)
			return nil, err
		}
	}
	response, err := launch(ctx, conn, plain(request))
	if lost, ok := errors.AsType[*lostError](err); ok {
		_ = conn.Close()
		c.launching.release(nil)
		return nil, launchLost(ctx, lost.error)
	}
	c.launching.release(conn)
	return response, err
}

// plain returns a request without an OCI process, unless that has anything that a plain one has not.
func plain(request *guestv1.CreateProcessRequest) *guestv1.CreateProcessRequest {
	var of struct {
		User struct {
			UID, GID uint32
		}
		Args, Env []string
		Cwd       string
	}
	read := json.NewDecoder(bytes.NewReader(request.OciProcess))
	read.DisallowUnknownFields()
	if read.Decode(&of) != nil || of.User.UID != 0 || of.User.GID != 0 {
		return request
	}
	request = proto.CloneOf(request)
	request.OciProcess, request.Plain = nil, &guestv1.PlainProcess{Args: of.Args, Env: of.Env, Cwd: of.Cwd}
	return request
}

// lostError says that a connection is of no use any more.
type lostError struct{ error }

// launch makes one request. Any other error than a lostError is the guest's answer.
func launch(ctx context.Context, conn net.Conn, request *guestv1.CreateProcessRequest) (*guestv1.CreateProcessResponse, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	var result guestv1.LaunchResult
	err := WriteMessages(conn, request)
	if err == nil {
		err = ReadMessage(conn, &result, maxMessage)
	}
	if !stop() && err == nil {
		err = ctx.Err() // its deadline may be set after us
	}
	if err != nil {
		return nil, &lostError{err}
	}
	if len(result.Error) == 0 {
		return result.GetCreated(), nil
	}
	var failure spb.Status
	if err := proto.Unmarshal(result.Error, &failure); err != nil || failure.Code == 0 {
		return nil, &lostError{errors.New("it says that it failed, but not why")}
	}
	return nil, fault.FromGRPC(status.FromProto(&failure).Err())
}

func launchLost(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("create process: %w", context.Canceled)
	}
	cause := fmt.Errorf("the guest's agent: %w", err)
	if ctx.Err() != nil {
		cause = fmt.Errorf("the guest's agent gave no answer: %w", ctx.Err())
	}
	return &fault.Error{Reason: fault.Unavailable, Op: "create process", Cause: cause}
}
