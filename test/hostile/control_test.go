package hostile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/vzctl/vzctl/core/sandbox"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	pluginv1 "github.com/vzctl/vzctl/sdk/proto/vzctl/plugin/v1"
)

const huge = 100 << 20

// nasty is a text that nobody should see as it is.
const nasty = "\x1b[2J\x1b]0;owned\a\r\nvzctl: all is well\n\u202e\xff\x00"

// bloated has each answer of the guest be as long as said, in bytes, and holds little of it.
type bloated struct {
	encoding.CodecV2
	size int
}

func (b bloated) Marshal(any) (mem.BufferSlice, error) {
	piece := make(mem.SliceBuffer, 1<<20)
	var all mem.BufferSlice
	for range b.size >> 20 {
		all = append(all, piece)
	}
	return all, nil
}

func TestAnswersThatLie(t *testing.T) {
	text := strings.ToValidUTF8(nasty, "?") // protobuf takes no other
	detailed := func(d *pluginv1.ErrorDetail) error {
		s, err := status.New(codes.Internal, text).WithDetails(d)
		if err != nil {
			t.Fatal(err)
		}
		return s.Err()
	}
	for _, test := range []struct {
		name, says string
		guest      *liar
	}{
		{"a version as long as a message may be", "speaks protocol", &liar{hello: &guestv1.HelloResponse{Version: strings.Repeat(nasty[:7], 100_000), ProtocolMin: 7, ProtocolMax: 9}}},
		{"a hundred thousand abilities more than a message may have", "larger than max", &liar{hello: &guestv1.HelloResponse{ProtocolMin: 1, ProtocolMax: 1, Features: make([]string, 1<<20)}}},
		{"versions from nothing to all", "speaks protocol", &liar{hello: &guestv1.HelloResponse{ProtocolMin: math.MaxUint32, ProtocolMax: 0}}},
		{"an answer of 100 MiB", "larger than max", &liar{options: []grpc.ServerOption{grpc.ForceServerCodecV2(bloated{encoding.GetCodecV2("proto"), huge})}}},
		{"an error that steers terminals", "all is well", &liar{create: func() (*guestv1.CreateContainerResponse, error) { return nil, status.Error(codes.Internal, nasty) }}},
		{"an error of 60 kB", "", &liar{start: func() error { return status.Error(codes.InvalidArgument, strings.Repeat("x\n", 30_000)) }}},
		{"an error of 10 MB", "", &liar{start: func() error { return status.Error(codes.InvalidArgument, strings.Repeat("x", 10<<20)) }}},
		{"a detailed error that steers terminals", "", &liar{adopt: func() (*guestv1.AdoptResponse, error) {
			return nil, detailed(&pluginv1.ErrorDetail{Operation: text, Subject: text, Cause: text, Hint: text})
		}}},
		{"an error with a code that does not exist", "", &liar{start: func() error { return status.Error(codes.Code(4711), "no") }}},
		{"an error that says that the host's user gave up", "", &liar{start: func() error { return status.Error(codes.Canceled, "context canceled") }}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.guest)
			_, err := w.begin()
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("error %.300v, should say %q", err, test.says)
			}
			if errors.Is(err, context.Canceled) {
				t.Errorf("a guest makes the host believe that its user gave up: %v", err)
			}
			w.holds(err.Error())
		})
	}
}

func TestPhasesAndClocksThatLieAreShownWithinTheirCall(t *testing.T) {
	phases := make([]*guestv1.Phase, 5000)
	for i := range phases {
		phases[i] = &guestv1.Phase{Name: nasty, BeginNanoseconds: math.MaxUint64 - uint64(i), DurationNanoseconds: math.MaxUint64}
	}
	phases[0] = &guestv1.Phase{Name: strings.ToValidUTF8(nasty, "?"), DurationNanoseconds: math.MaxUint64}
	for _, p := range phases {
		p.Name = strings.ToValidUTF8(p.Name, "?")
	}
	guest := &liar{
		hello: &guestv1.HelloResponse{ProtocolMin: 1, ProtocolMax: 1, UptimeNanoseconds: math.MaxUint64, InitUptimeNanoseconds: math.MaxUint64 - 1},
		adopt: func() (*guestv1.AdoptResponse, error) { return &guestv1.AdoptResponse{Phases: phases}, nil },
	}
	w := newWorld(t, guest)
	s, err := w.begin()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range s.Timeline() {
		if p.Duration < 0 {
			t.Errorf("%s takes %s", p.Name, p.Duration)
		}
		names = append(names, p.Name)
	}
	if len(names) > 100 {
		t.Errorf("%d phases", len(names))
	}
	w.stop(s)
	w.holds(names...)
}

func TestEndsThatAreForged(t *testing.T) {
	for _, test := range []struct {
		name   string
		exit   *guestv1.Exit
		code   int
		reason string
	}{
		{"no exit at all", nil, 0, "exited"},
		{"a code that is none", &guestv1.Exit{Code: math.MaxInt32}, 255, "exited"},
		{"a negative code", &guestv1.Exit{Code: math.MinInt32 + 3}, 3, "exited"},
		{"a signal that is none", &guestv1.Exit{Code: 7, Signal: math.MinInt32}, 7, "killed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// It comes before anything was started, and again for each that asks.
			w := newWorld(t, &liar{wait: func(context.Context, string) (*guestv1.WaitProcessResponse, error) {
				return &guestv1.WaitProcessResponse{Exit: test.exit}, nil
			}})
			outcome := w.run()
			if outcome.Code != test.code || outcome.Reason != test.reason {
				t.Errorf("outcome %+v", outcome)
			}
			w.holds(outcome.Message)
		})
	}
}

func TestTheEndOfAnExecIsNotThatOfItsContainer(t *testing.T) {
	guest := &liar{}
	guest.wait = func(ctx context.Context, process string) (*guestv1.WaitProcessResponse, error) {
		if process != "init" { // which was not even started
			return &guestv1.WaitProcessResponse{Exit: &guestv1.Exit{Code: -1}}, nil
		}
		select {
		case exit := <-guest.exits:
			return &guestv1.WaitProcessResponse{Exit: exit}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	w := newWorld(t, guest)
	s, err := w.begin()
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.CreateProcess(sandbox.ProcessRequest{OCIProcess: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.StartProcess(t.Context(), id) // whatever the guest says of it
	for range 2 {
		if outcome, err := s.WaitProcess(t.Context(), id); err != nil || outcome.Code != 255 {
			t.Errorf("%+v, %v", outcome, err)
		}
	}
	select {
	case <-s.Stopped():
		t.Error("the container has ended")
	default:
	}
	if outcome := w.stop(s); outcome.Reason != "killed" {
		t.Errorf("outcome %+v", outcome)
	}
	w.holds()
}

func TestAControlConnectionThatIsNoGRPC(t *testing.T) {
	settings := []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}
	for name, control := range map[string]func(net.Conn){
		"nothing, and its end": func(net.Conn) {},
		"endless zeros":        func(c net.Conn) { _, _ = io.Copy(c, zeros{}) },
		"an HTTP/1 answer": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("A: b\r\n", 1<<16))
		},
		"endless settings":  func(c net.Conn) { repeat(c, settings, settings) },
		"endless pings":     func(c net.Conn) { repeat(c, settings, append([]byte{0, 0, 8, 6, 0, 0, 0, 0, 0}, make([]byte, 8)...)) },
		"a frame of 16 MiB": func(c net.Conn) { repeat(c, settings, []byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1}) },
		"headers without end": func(c net.Conn) {
			repeat(c, append(settings, 0, 0, 0, 1, 0, 0, 0, 0, 1), append([]byte{0, 0x3f, 0xff, 9, 0, 0, 0, 0, 1}, make([]byte, 0x3fff)...))
		},
		"goodbye, to each call": func(c net.Conn) { repeat(c, settings, []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, &liar{control: func(c net.Conn) {
				defer c.Close()
				control(c)
			}})
			err := w.beginWithin(t, shortPatience)
			if err == nil {
				t.Fatal("it has started")
			}
			w.holds(err.Error())
		})
	}
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// repeat writes something, and something else until nobody takes it. What the host sends is read.
func repeat(c net.Conn, first, then []byte) {
	go func() { _, _ = io.Copy(io.Discard, c) }()
	if _, err := c.Write(first); err != nil {
		return
	}
	many := bytes.Repeat(then, 1+(32<<10)/len(then))
	for {
		if _, err := c.Write(many); err != nil {
			return
		}
	}
}

func TestHeadersOfAnAnswerAreBounded(t *testing.T) {
	guest := &liar{}
	guest.options = []grpc.ServerOption{grpc.UnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		many := metadata.MD{}
		for i := range 2000 {
			many.Append("x-"+strings.Repeat("k", i%50), strings.Repeat("v", 1000))
		}
		_ = grpc.SetHeader(ctx, many)
		return handle(ctx, request)
	})}
	w := newWorld(t, guest)
	err := w.beginWithin(t, shortPatience)
	if err == nil {
		t.Fatal("it has started")
	}
	w.holds(err.Error())
}

// TestAListOfProcessesWithoutEnd is what a user sees who asks for the processes, and keeps them all.
func TestAListOfProcessesWithoutEnd(t *testing.T) {
	megabyte := strings.Repeat("x", 1000_000)
	for name, part := range map[string]*guestv1.ListProcessesResponse{
		"with long commands": {Processes: []*guestv1.ContainerProcess{{Pid: 1, Command: megabyte}}},
		"with long users":    {Processes: []*guestv1.ContainerProcess{{Pid: 1, User: megabyte}}},
		"of many":            {Processes: make([]*guestv1.ContainerProcess, 10_000)},
		"of none":            {},
	} {
		for i := range part.Processes {
			if part.Processes[i] == nil {
				part.Processes[i] = &guestv1.ContainerProcess{Pid: 7}
			}
		}
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, &liar{list: func(stream grpc.ServerStreamingServer[guestv1.ListProcessesResponse]) error {
				for {
					if err := stream.Send(part); err != nil {
						return err
					}
				}
			}})
			s, err := w.begin()
			if err != nil {
				t.Fatal(err)
			}
			var all []*guestv1.ContainerProcess
			err = s.Processes(t.Context(), func(part []*guestv1.ContainerProcess) error {
				all = append(all, part...)
				if w.memory() > memoryBound {
					return errors.New("the user's memory is full")
				}
				return nil
			})
			if err == nil || !strings.Contains(err.Error(), "the guest tells of more") {
				t.Errorf("after %d processes: %v", len(all), err)
			}
			w.stop(s)
			w.holds(err.Error())
		})
	}
}
