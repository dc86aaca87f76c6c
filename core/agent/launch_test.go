package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

// caller is where the calls of gRPC go that are made in place of requests over a stream.
type caller struct {
	guestv1.AgentClient
	calls atomic.Int32
}

func (c *caller) CreateProcess(context.Context, *guestv1.CreateProcessRequest, ...grpc.CallOption) (*guestv1.CreateProcessResponse, error) {
	c.calls.Add(1)
	return &guestv1.CreateProcessResponse{}, nil
}

// launcher is a client of a guest whose end of each stream play has.
func launcher(t *testing.T, play func(conn net.Conn)) (c *Client, calls *caller, streams *atomic.Int32) {
	t.Helper()
	path := filepath.Join(plugintest.RuntimeDir(t), "vsock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	calls, streams = &caller{}, &atomic.Int32{}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			streams.Add(1)
			go func() {
				defer conn.Close()
				if _, err := io.CopyN(io.Discard, conn, int64(len("CONNECT 1025\n"))); err != nil {
					return
				}
				var request guestv1.StreamRequest
				_, _ = io.WriteString(conn, "OK 1\n")
				if ReadHeader(conn, &request) != nil || request.Kind != guestv1.StreamKind_STREAM_KIND_LAUNCH || WriteHeader(conn, &guestv1.StreamResponse{}) != nil {
					return
				}
				play(conn)
			}()
		}
	}()
	c = &Client{AgentClient: calls, Greeting: Greeting{Features: []string{featureLaunch}}, vsockPath: path}
	t.Cleanup(func() { _ = c.launching.close() })
	return c, calls, streams
}

// answering answers each request with what it makes of it.
func answering(answer func(*guestv1.CreateProcessRequest) *guestv1.LaunchResult) func(net.Conn) {
	return func(conn net.Conn) {
		for {
			var request guestv1.CreateProcessRequest
			if ReadMessage(conn, &request, maxMessage) != nil || WriteMessages(conn, answer(&request)) != nil {
				return
			}
		}
	}
}

func TestProcessesAreCreatedOverOneStreamOneAfterTheOther(t *testing.T) {
	var asked []*guestv1.CreateProcessRequest
	c, calls, streams := launcher(t, answering(func(r *guestv1.CreateProcessRequest) *guestv1.LaunchResult {
		asked = append(asked, r)
		return &guestv1.LaunchResult{Created: &guestv1.CreateProcessResponse{Exit: &guestv1.Exit{Code: 3}, Stdout: []byte("said")}}
	}))
	for _, text := range []string{
		`{"user":{"uid":0,"gid":0},"args":["a","b"],"env":["C=d"],"cwd":"/e"}`,
		`{"terminal":true,"user":{"uid":0,"gid":0},"args":["a"],"cwd":"/"}`, // what is more than a plain one has goes as it is
		`{"user":{"uid":1,"gid":0},"args":["a"],"cwd":"/"}`,
		`{`,
	} {
		answer, err := c.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{ProcessId: "p", OciProcess: []byte(text)})
		if err != nil || answer.GetExit().GetCode() != 3 || string(answer.Stdout) != "said" {
			t.Errorf("%v, %v", answer, err)
		}
		switch last := asked[len(asked)-1]; {
		case len(asked) > 1 && (last.Plain != nil || string(last.OciProcess) != text):
			t.Errorf("asked for %v", last)
		case len(asked) == 1 && !proto.Equal(last, &guestv1.CreateProcessRequest{ProcessId: "p", Plain: &guestv1.PlainProcess{Args: []string{"a", "b"}, Env: []string{"C=d"}, Cwd: "/e"}}):
			t.Errorf("asked for %v", last)
		}
	}
	if streams.Load() != 1 || calls.calls.Load() != 0 {
		t.Errorf("%d streams, %d calls", streams.Load(), calls.calls.Load())
	}
}

func TestWhatCannotBeCreatedIsTheGuestsError(t *testing.T) {
	none := &fault.Error{Reason: fault.NotFound, Op: "execute", Subject: "nosuch"}
	text, err := proto.Marshal(status.Convert(fault.ToGRPC(none)).Proto())
	if err != nil {
		t.Fatal(err)
	}
	c, _, streams := launcher(t, answering(func(*guestv1.CreateProcessRequest) *guestv1.LaunchResult { return &guestv1.LaunchResult{Error: text} }))
	for range 2 {
		_, err := c.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{})
		if e, ok := errors.AsType[*fault.Error](err); !ok || e.Op != "execute" || e.Reason != fault.NotFound || e.Subject != "nosuch" {
			t.Errorf("error %v", err)
		}
	}
	if streams.Load() != 1 {
		t.Errorf("%d streams", streams.Load())
	}
}

func TestAGuestThatCannotDoItIsCalled(t *testing.T) {
	c, calls, streams := launcher(t, nil)
	c.Greeting.Features = nil
	if _, err := c.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{}); err != nil || calls.calls.Load() != 1 || streams.Load() != 0 {
		t.Errorf("%v, %d calls, %d streams", err, calls.calls.Load(), streams.Load())
	}
}

func TestMoreThanAFewAtOnceAreCalls(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	c, calls, _ := launcher(t, answering(func(*guestv1.CreateProcessRequest) *guestv1.LaunchResult {
		arrived <- struct{}{}
		<-release
		return &guestv1.LaunchResult{Created: &guestv1.CreateProcessResponse{}}
	}))
	done := make(chan error)
	for range maxLaunching {
		go func() {
			_, err := c.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{})
			done <- err
		}()
	}
	for range maxLaunching {
		<-arrived
	}
	if _, err := c.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{}); err != nil || calls.calls.Load() != 1 {
		t.Errorf("%v, %d calls", err, calls.calls.Load())
	}
	close(release)
	for range maxLaunching {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestARequestThatIsLeftIsTakenBack(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	c, _, streams := launcher(t, func(conn net.Conn) {
		var request guestv1.CreateProcessRequest
		if ReadMessage(conn, &request, maxMessage) != nil {
			return
		}
		if request.ProcessId == "next" {
			_ = WriteMessages(conn, &guestv1.LaunchResult{Created: &guestv1.CreateProcessResponse{}})
			return
		}
		leave()
		_, err := conn.Read(make([]byte, 1))
		gone <- err
	})
	if _, err := c.CreateProcess(ctx, &guestv1.CreateProcessRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := <-gone; !errors.Is(err, io.EOF) {
		t.Errorf("the guest reads %v", err)
	}
	if _, err := c.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{ProcessId: "next"}); err != nil || streams.Load() != 2 {
		t.Errorf("the next: %v, %d streams", err, streams.Load())
	}
}

func TestAnAnswerThatIsNoneEndsTheStream(t *testing.T) {
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	for name, answer := range map[string][]byte{
		"nothing":             nil,
		"a part":              append(length(9), 1),
		"too much":            length(maxMessage + 1),
		"no message":          append(length(2), 0xff, 0xff),
		"an error without it": append(length(5), 0x8a, 0x14, 2, 0x08, 0), // a google.rpc.Status of code 0
	} {
		t.Run(name, func(t *testing.T) {
			c, _, streams := launcher(t, func(conn net.Conn) {
				if ReadMessage(conn, &guestv1.CreateProcessRequest{}, maxMessage) == nil {
					_, _ = conn.Write(answer)
				}
			})
			for range 2 {
				if _, err := c.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{}); !errors.Is(err, fault.Unavailable) {
					t.Errorf("error %v", err)
				}
			}
			if streams.Load() != 2 {
				t.Errorf("%d streams", streams.Load())
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c, _, _ := launcher(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	if _, err := c.CreateProcess(ctx, &guestv1.CreateProcessRequest{}); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fault.Unavailable) {
		t.Errorf("a guest that does not answer: %v", err)
	}
}

// A checkpoint loses all connections, also those that nobody uses at that moment.
func TestAStreamThatWasLostMeanwhileIsNotUsed(t *testing.T) {
	closed := make(chan struct{}, 1)
	c, calls, streams := launcher(t, func(conn net.Conn) {
		var request guestv1.CreateProcessRequest
		if ReadMessage(conn, &request, maxMessage) == nil {
			_ = WriteMessages(conn, &guestv1.LaunchResult{Created: &guestv1.CreateProcessResponse{}})
		}
		_ = conn.Close()
		closed <- struct{}{}
	})
	for range 3 {
		if _, err := c.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{}); err != nil {
			t.Error(err)
		}
		<-closed
	}
	if streams.Load() != 3 || calls.calls.Load() != 0 {
		t.Errorf("%d streams, %d calls", streams.Load(), calls.calls.Load())
	}
}

func TestTheEndOfTheClientEndsWhatIsUnderWay(t *testing.T) {
	arrived := make(chan struct{})
	c, _, _ := launcher(t, func(conn net.Conn) {
		close(arrived)
		_, _ = io.Copy(io.Discard, conn)
	})
	done := make(chan error, 1)
	go func() {
		_, err := c.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{})
		done <- err
	}()
	<-arrived
	if err := c.launching.close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, fault.Unavailable) {
		t.Errorf("error %v", err)
	}
}

func TestWhereNoStreamCanBeOpenedItIsACall(t *testing.T) {
	c, calls, _ := launcher(t, nil)
	c.vsockPath += ".not"
	if _, err := c.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{}); err != nil || calls.calls.Load() != 1 {
		t.Errorf("%v, %d calls", err, calls.calls.Load())
	}
}
