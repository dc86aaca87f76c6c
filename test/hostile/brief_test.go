package hostile

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// TestOutputThatIsToldAndIsNot has a guest tell what a process wrote with its end, and over streams as well: what was heard first counts, and is heard once.
func TestOutputThatIsToldAndIsNot(t *testing.T) {
	refuses := func(c net.Conn, _ *guestv1.StreamRequest) {
		_ = writeHeader(c, &guestv1.StreamResponse{Error: nasty})
		c.Close()
	}
	for _, test := range []struct {
		name    string
		input   bool // the process has one, so that its streams are open before it runs
		output  *guestv1.Output
		streams func(c net.Conn, r *guestv1.StreamRequest)
		reason  string
		logged  string
		not     string
	}{
		{"told, and nothing else", false, &guestv1.Output{Stdout: []byte("it was told")}, refuses, "exited", "it was told", ""},
		{"more than is ever told", false, &guestv1.Output{Stdout: []byte(strings.Repeat("x", 900_000))}, refuses, "exited", "xxx", ""},
		{"more than a message may have", false, &guestv1.Output{Stdout: []byte(strings.Repeat("x", 2<<20))}, refuses, "guest-hung", "", "xxx"},
		{"neither told nor to be had", false, nil, refuses, "exited", "", ""},
		{"told, though nobody asked", true, &guestv1.Output{Stdout: []byte("it was told")}, says("over a stream"), "exited", "over a stream", "it was told"},
		{"not told, and over streams", false, nil, says("over a stream"), "exited", "over a stream", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			guest := &liar{streams: test.streams, output: test.output}
			guest.hello = &guestv1.HelloResponse{Version: "liar", ProtocolMin: 1, ProtocolMax: 1, Features: []string{"begin", "brief-run"}}
			guest.wait = func(context.Context, string) (*guestv1.WaitProcessResponse, error) {
				return &guestv1.WaitProcessResponse{Exit: &guestv1.Exit{Code: 3}}, nil
			}
			w := newWorld(t, guest)
			w.spec.StdinOpen, w.spec.Apart = test.input, true
			outcome := w.run()
			if outcome.Reason != test.reason {
				t.Errorf("outcome %+v", outcome)
			}
			text, err := os.ReadFile(w.logPath)
			if err != nil || !strings.Contains(string(text), test.logged) || test.not != "" && strings.Contains(string(text), test.not) {
				t.Errorf("logged %.200q, %v", text, err)
			}
			w.holds(outcome.Message)
		})
	}
}

// says has a text on stdout, and nothing on other streams.
func says(text string) func(c net.Conn, r *guestv1.StreamRequest) {
	return func(c net.Conn, r *guestv1.StreamRequest) {
		defer c.Close()
		if err := writeHeader(c, &guestv1.StreamResponse{}); err == nil && r.Kind == stdout {
			_, _ = io.WriteString(c, text)
		}
	}
}
