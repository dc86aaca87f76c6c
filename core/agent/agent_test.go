package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/plugintest"
)

// peer answers a handshake with a text.
type peer struct {
	io.Reader
	asked bytes.Buffer
}

func (p *peer) Write(b []byte) (int, error) { return p.asked.Write(b) }

func TestHandshake(t *testing.T) {
	for name, test := range map[string]struct{ answer, refusal, rest string }{
		"accepted":                     {"OK 1073741824\n", "", ""},
		"what follows is the stream's": {"OK 1\nhello", "", "hello"},
		"refused":                      {"", "connection refused", ""},
		"cut off":                      {"OK 1", "EOF", ""},
		"no number":                    {"OK\n", "unexpected answer", "x"},
		"a number that is too large":   {"OK 4294967296\n", "unexpected answer", ""},
		"a negative number":            {"OK -1\n", "unexpected answer", ""},
		"another word":                 {"NO 1\n", "unexpected answer", ""},
		"lower case":                   {"ok 1\n", "unexpected answer", ""},
		"a carriage return":            {"OK 1\r\n", "unexpected answer", ""},
		"a line without end":           {strings.Repeat("O", 1<<20), "unexpected answer", ""},
		"what would steer a terminal":  {"\x1b[2J\n", `\x1b`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := &peer{Reader: strings.NewReader(test.answer)}
			err := handshake(p, 1024)
			if got := p.asked.String(); got != "CONNECT 1024\n" {
				t.Errorf("asked %q", got)
			}
			if test.refusal == "" {
				rest, _ := io.ReadAll(p.Reader)
				if err != nil || string(rest) != test.rest {
					t.Errorf("error %v, rest %q", err, rest)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.refusal) || len(err.Error()) > 200 {
				t.Errorf("error %v, should say %q", err, test.refusal)
			}
		})
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add("OK 1\n")
	f.Add("OK 4294967295\nrest")
	f.Fuzz(func(t *testing.T, answer string) {
		if handshake(&peer{Reader: strings.NewReader(answer)}, 1) == nil && !strings.HasPrefix(answer, "OK ") {
			t.Errorf("accepted %q", answer)
		}
	})
}

func TestHeadersAreBounded(t *testing.T) {
	size := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	for name, test := range map[string]struct {
		bytes []byte
		says  string
	}{
		"empty":               {nil, "EOF"},
		"cut in its length":   {[]byte{0, 0}, "EOF"},
		"cut in its body":     {append(size(9), 1), "EOF"},
		"longer than allowed": {size(maxHeader + 1), "at most 4096"},
		"as long as it gets":  {size(1<<32 - 1), "at most 4096"},
		"no message":          {append(size(2), 0xff, 0xff), "read stream header"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := ReadHeader(bytes.NewReader(test.bytes), &guestv1.StreamResponse{}); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v", err)
			}
		})
	}
	if err := WriteHeader(io.Discard, &guestv1.StreamResponse{Error: strings.Repeat("x", maxHeader)}); err == nil {
		t.Error("a header that nobody takes was sent")
	}
}

func FuzzReadHeader(f *testing.F) {
	var good bytes.Buffer
	if err := WriteHeader(&good, &guestv1.StreamResponse{Error: "no"}); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		r := bytes.NewReader(text)
		if ReadHeader(r, &guestv1.StreamResponse{}) == nil && len(text)-r.Len() != 4+int(binary.BigEndian.Uint32(text)) {
			t.Error("more or less was read than the header")
		}
	})
}

// fakeAgent is the guest's side behind a hybrid vsock socket.
type fakeAgent struct {
	guestv1.UnimplementedAgentServer
	hello *guestv1.HelloResponse
}

func (a fakeAgent) Hello(context.Context, *guestv1.HelloRequest) (*guestv1.HelloResponse, error) {
	return a.hello, nil
}

// vsock is a listener whose connections have passed the handshake.
type vsock struct{ net.Listener }

func (v vsock) Accept() (net.Conn, error) {
	conn, err := v.Listener.Accept()
	if err != nil {
		return nil, err
	}
	var b [1]byte
	for b[0] != '\n' {
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return nil, err
		}
	}
	_, err = io.WriteString(conn, "OK 1\n")
	return conn, err
}

func listen(t *testing.T) (net.Listener, string) {
	path := filepath.Join(plugintest.RuntimeDir(t), "vsock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener, path
}

func dial(t *testing.T, hello *guestv1.HelloResponse) (*Client, error) {
	return dialKnown(t, hello, func() (Greeting, bool) { return Greeting{}, false })
}

func dialKnown(t *testing.T, hello *guestv1.HelloResponse, known func() (Greeting, bool)) (*Client, error) {
	listener, path := listen(t)
	server := grpc.NewServer()
	guestv1.RegisterAgentServer(server, fakeAgent{hello: hello})
	go func() { _ = server.Serve(vsock{listener}) }()
	t.Cleanup(server.Stop)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return DialKnown(ctx, path, "test", known)
}

func TestAGuestOfTheSameProtocolIsSpokenTo(t *testing.T) {
	c, err := dial(t, &guestv1.HelloResponse{ProtocolMin: 1, ProtocolMax: 3, InitUptimeNanoseconds: 1 << 63, UptimeNanoseconds: 5})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Answers(t.Context()); err != nil {
		t.Error(err)
	}
	if initAt, answeredAt := c.Booted(); initAt != 5 || answeredAt != 5 {
		t.Errorf("a guest that lies about its clock: %s, %s", initAt, answeredAt)
	}
}

func TestAKnownGuestIsNotAskedUnlessItIsKnownToSpeakAnotherProtocol(t *testing.T) {
	says := &guestv1.HelloResponse{Version: "said", ProtocolMin: 1, ProtocolMax: 1, Features: []string{"a"}, UptimeNanoseconds: 5}
	for name, test := range map[string]struct {
		known Greeting
		taken bool
	}{
		"as this host does": {Greeting{Version: "known", ProtocolMin: 1, ProtocolMax: 2, Features: []string{"b"}}, true},
		"a later one":       {Greeting{Version: "known", ProtocolMin: 2, ProtocolMax: 3}, false},
		"none":              {Greeting{Version: "known"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := dialKnown(t, says, func() (Greeting, bool) { return test.known, true })
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, answeredAt := c.Booted()
			if c.Known != test.taken || c.Greeting.Equal(test.known) != test.taken || c.Offers("b") != test.taken || c.Offers("a") == test.taken || (answeredAt == 0) != test.taken {
				t.Errorf("known %v, greeting %+v, answered at %s", c.Known, c.Greeting, answeredAt)
			}
			if _, err := c.Answers(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAGreetingWithoutEndIsCut(t *testing.T) {
	hello := &guestv1.HelloResponse{Version: strings.Repeat("v", 1<<16), ProtocolMin: 1, ProtocolMax: 1, Features: []string{"first", strings.Repeat("long", 1<<16), "second"}}
	for range 1 << 12 {
		hello.Features = append(hello.Features, "more")
	}
	g := greetingOf(hello)
	if !g.Offers("first") || !g.Offers("second") || len(g.Features) > 128 || len(strings.Join(append(g.Features, g.Version), "")) > 1<<12 {
		t.Errorf("%d abilities, %.200q", len(g.Features), g.Features)
	}
}

func TestAnOlderGuestThatDoesNotTellItsTimeIsSpokenTo(t *testing.T) {
	for name, hello := range map[string]*guestv1.HelloResponse{
		"none":     {ProtocolMin: 1, ProtocolMax: 1},
		"no time":  {ProtocolMin: 1, ProtocolMax: 1, Time: &timestamppb.Timestamp{Seconds: 1 << 62}},
		"negative": {ProtocolMin: 1, ProtocolMax: 1, Time: &timestamppb.Timestamp{Nanos: -1}},
	} {
		c, err := dial(t, hello)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if now, err := c.Answers(t.Context()); err != nil || !now.IsZero() {
			t.Errorf("%s: %s, %v", name, now, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAGuestOfAnotherProtocolIsRefusedAndBothSidesAreNamed(t *testing.T) {
	_, err := dial(t, &guestv1.HelloResponse{Version: "9.9\x1b[2J" + strings.Repeat("x", 1000), ProtocolMin: 7, ProtocolMax: 8})
	if !errors.Is(err, fault.FailedPrecondition) {
		t.Fatalf("error %v", err)
	}
	for _, words := range []string{"9.9", "7 to 8", "1 to 1"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q is not in %q", words, err)
		}
	}
	if strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 500 {
		t.Errorf("the guest's words as they are: %q", err)
	}
}

func TestAGuestThatDoesNotAnswerEndsWithTheCallersTime(t *testing.T) {
	_, path := listen(t) // the kernel takes the connection, nobody answers
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := DialPort(ctx, path, 1); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fault.Unavailable) {
		t.Errorf("error %v", err)
	}
}
