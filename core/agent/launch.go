package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
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
	used   map[net.Conn]bool
	count  int // of both, and those that are being opened
	closed bool
}

// reserve returns an idle connection, or whether a new one may be opened. The caller calls use with that, and release in any case.
func (l *launching) reserve() (conn net.Conn, allowed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.idle) > 0 {
		last := len(l.idle) - 1
		conn, l.idle = l.idle[last], l.idle[:last]
		if silent(conn) {
			l.use(conn)
			return conn, true
		}
		_ = conn.Close() // it was lost with the session that it belonged to, as by a checkpoint
		l.count--
	}
	if l.closed || l.count >= maxLaunching {
		return nil, false
	}
	l.count++
	return nil, true
}

// use notes that a connection is in use; with the lock held.
func (l *launching) use(conn net.Conn) {
	if l.used == nil {
		l.used = map[net.Conn]bool{}
	}
	if l.used[conn] = true; l.closed {
		_ = conn.SetDeadline(time.Unix(1, 0))
	}
}

// opened is use of a new one.
func (l *launching) opened(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.use(conn)
}

// release takes a connection back, which is nil if it could not be opened, and keeps it if it is of use to others.
func (l *launching) release(conn net.Conn, useful bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.used, conn)
	if useful && !l.closed {
		l.idle = append(l.idle, conn)
		return
	}
	l.count--
	if conn != nil {
		_ = conn.Close()
	}
}

// close ends what is under way as well.
func (l *launching) close() (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, conn := range l.idle {
		err = errors.Join(err, conn.Close())
	}
	l.idle = nil
	for conn := range l.used {
		_ = conn.SetDeadline(time.Unix(1, 0))
	}
	return err
}

// silent reports whether there is nothing to be read, not even an end: the guest never speaks unasked.
func silent(conn net.Conn) bool {
	raw, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = control.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = errors.Is(err, unix.EAGAIN)
	})
	return err == nil && quiet
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
			c.launching.release(nil, false)
			return c.AgentClient.CreateProcess(ctx, request, options...) // it may have no room for another stream; or says what is wrong
		}
		c.launching.opened(conn)
	}
	response, useful, err := launch(ctx, conn, plain(request))
	c.launching.release(conn, useful)
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

// launch makes one request. An error is the guest's answer, or that of a connection that is of no use any more. So is one whose caller has left, whatever it has answered at that moment.
func launch(ctx context.Context, conn net.Conn, request *guestv1.CreateProcessRequest) (response *guestv1.CreateProcessResponse, useful bool, err error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	var result guestv1.LaunchResult
	if err = WriteMessages(conn, request); err == nil {
		err = ReadMessage(conn, &result, maxMessage)
	}
	useful = stop() // otherwise its deadline may be set after us
	if err != nil {
		return nil, false, launchLost(ctx, err)
	}
	if len(result.Error) == 0 {
		return result.GetCreated(), useful, nil
	}
	failure, ok := fault.Unmarshal(result.Error)
	if !ok {
		return nil, false, launchLost(ctx, errors.New("it says that it failed, but not why"))
	}
	return nil, useful, failure
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
