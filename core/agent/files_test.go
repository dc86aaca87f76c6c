package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/vzctl/vzctl/guest/frames"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// guestOf plays the guest: it reads the request, and does what the test says.
func guestOf(t *testing.T, play func(conn net.Conn)) net.Conn {
	t.Helper()
	host, guest := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer guest.Close()
		if ReadMessage(guest, &guestv1.FilesRequest{}, maxFilesMessage) == nil {
			play(guest)
		}
	}()
	t.Cleanup(func() { _ = host.Close(); <-done })
	return host
}

func result(t *testing.T, err error, warnings ...string) *guestv1.FilesResult {
	t.Helper()
	r := &guestv1.FilesResult{Warnings: warnings}
	if err != nil {
		body, marshalErr := proto.Marshal(status.Convert(fault.ToGRPC(err)).Proto())
		if marshalErr != nil {
			t.Fatal(marshalErr)
		}
		r.Error = body
	}
	return r
}

func TestUseFiles(t *testing.T) {
	full := &fault.Error{Reason: fault.NoSpace, Op: "write", Cause: errors.New("it is full")}
	disk := errors.New("the host's disk is full")
	answer := func(t *testing.T, conn net.Conn, data string, r *guestv1.FilesResult) {
		w := frames.NewWriter(conn)
		_, _ = io.WriteString(w, data)
		_ = w.Close()
		_ = writeLong(conn, r)
	}
	for _, test := range []struct {
		name    string
		play    func(t *testing.T, conn net.Conn)
		send    func(io.Writer) error
		receive func(io.Reader) error
		err     error  // that it is
		says    string // that it says
		got     string
	}{
		{name: "what is sent arrives, and the guest's word ends it", play: func(t *testing.T, conn net.Conn) {
			body, err := io.ReadAll(frames.NewReader(conn))
			if string(body) != "sent" || err != nil {
				t.Errorf("the guest has %q, %v", body, err)
			}
			answer(t, conn, "", result(t, nil))
		}, send: func(w io.Writer) error { _, err := io.WriteString(w, "sent"); return err }},
		{name: "what is received", play: func(t *testing.T, conn net.Conn) { answer(t, conn, "received", result(t, nil)) }, got: "received"},
		{name: "an error of the guest while the host sends", play: func(t *testing.T, conn net.Conn) { answer(t, conn, "", result(t, full)) },
			send: func(w io.Writer) error { _, err := io.Copy(w, endless{}); return err }, err: fault.NoSpace, says: "it is full"},
		{name: "an error of the guest in the middle of what it sends", play: func(t *testing.T, conn net.Conn) { answer(t, conn, "half", result(t, full)) },
			receive: func(r io.Reader) error { _, err := io.ReadFull(r, make([]byte, 8)); return err }, err: fault.NoSpace},
		{name: "an error of the host that receives", play: func(t *testing.T, conn net.Conn) {
			_, _ = io.Copy(frames.NewWriter(conn), endless{})
		}, receive: func(io.Reader) error { return disk }, err: disk},
		{name: "an error of the host that sends", play: func(t *testing.T, conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
			send: func(io.Writer) error { return disk }, err: disk},
		{name: "a guest that is gone", play: func(*testing.T, net.Conn) {}, err: fault.Unavailable},
		{name: "a guest that goes in the middle", play: func(t *testing.T, conn net.Conn) { _, _ = conn.Write([]byte{0, 0, 0, 9, 'x'}) }, err: fault.Unavailable, got: "x"},
		{name: "a frame that is too long", play: func(t *testing.T, conn net.Conn) { _, _ = conn.Write([]byte{255, 0, 0, 0}) }, says: "at most"},
		{name: "a result that is too long", play: func(t *testing.T, conn net.Conn) { _, _ = conn.Write([]byte{0, 0, 0, 0, 255, 0, 0, 0}) }, says: "at most"},
		{name: "a result that is none", play: func(t *testing.T, conn net.Conn) { _, _ = conn.Write([]byte{0, 0, 0, 0, 0, 0, 0, 2, 255, 255}) }, says: "it is no message"},
		{name: "an error that is none", play: func(t *testing.T, conn net.Conn) { answer(t, conn, "", &guestv1.FilesResult{Error: []byte{255}}) }, err: fault.Internal},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var got bytes.Buffer
			receive := test.receive
			if receive == nil {
				receive = func(r io.Reader) error { _, err := io.Copy(&got, r); return err }
			}
			_, err := UseFiles(ctx, guestOf(t, func(conn net.Conn) { test.play(t, conn) }), &guestv1.FilesRequest{}, test.send, receive)
			if (err == nil) != (test.err == nil && test.says == "") || test.err != nil && !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %v, %q", err, test.err, test.says)
			}
			if got.String() != test.got {
				t.Errorf("received %q", got.String())
			}
		})
	}
}

// endless reads as zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestUseFilesEndsWithItsCallerAndBoundsWarnings(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	conn := guestOf(t, func(conn net.Conn) { cancel(); _, _ = io.Copy(io.Discard, conn) })
	if _, err := UseFiles(ctx, conn, &guestv1.FilesRequest{}, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	many := make([]string, 1000)
	for i := range many {
		many[i] = "\x1b[2J left out"
	}
	conn = guestOf(t, func(conn net.Conn) { _ = frames.NewWriter(conn).Close(); _ = writeLong(conn, result(t, nil, many...)) })
	r, err := UseFiles(t.Context(), conn, &guestv1.FilesRequest{}, nil, nil)
	if err != nil || len(r.Warnings) != maxWarnings || strings.Contains(r.Warnings[0], "\x1b") {
		t.Errorf("%d warnings, the first %q, %v", len(r.Warnings), r.Warnings[0], err)
	}
}

// A guest that answers before it has all leaves whoever reads the rest from a terminal waiting there; the caller waits no longer than it wants to.
func TestUseFilesEndsWithItsCallerAlsoWhenTheGuestIsDoneAndWhatIsSentIsNot(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	conn := guestOf(t, func(conn net.Conn) { _ = frames.NewWriter(conn).Close(); _ = writeLong(conn, result(t, nil)); cancel() })
	terminal := make(chan struct{})
	defer close(terminal)
	ended := make(chan error, 1)
	go func() {
		_, err := UseFiles(ctx, conn, &guestv1.FilesRequest{}, func(io.Writer) error { <-terminal; return nil }, nil)
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it does not end with its caller")
	}
}

// deaf takes the request, and nothing after it; what it says can be read once that was tried.
type deaf struct {
	net.Conn // panics on what no test expects

	says   io.Reader
	taken  bool
	failed chan struct{}
	closed atomic.Bool
}

func (d *deaf) Write(p []byte) (int, error) {
	if !d.taken {
		d.taken = true
		return len(p), nil
	}
	close(d.failed)
	return 0, syscall.EPIPE
}

func (d *deaf) Read(p []byte) (int, error) {
	<-d.failed
	time.Sleep(time.Millisecond) // for who closes it too early
	if d.closed.Load() {
		return 0, net.ErrClosed
	}
	return d.says.Read(p)
}

func (d *deaf) Close() error { d.closed.Store(true); return nil }

func TestAGuestThatIsDoneBeforeTheHostIsUnderstood(t *testing.T) {
	var said bytes.Buffer
	_ = frames.NewWriter(&said).Close()
	_ = writeLong(&said, result(t, nil, "done"))
	r, err := UseFiles(t.Context(), &deaf{says: &said, failed: make(chan struct{})}, &guestv1.FilesRequest{}, nil, nil)
	if err != nil || len(r.Warnings) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
