package hostile

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/vzctl/vzctl/core/agent"
	"github.com/vzctl/vzctl/core/sandbox"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// TestAnswersToARequestForAProcessThatAreNone has a guest lie over the stream that processes are created on. The container goes on, and so does the host.
func TestAnswersToARequestForAProcessThatAreNone(t *testing.T) {
	long := strings.Repeat("x", 1<<19)
	for name, answer := range map[string]func(c net.Conn){
		"its end":       func(c net.Conn) { _ = c.Close() },
		"endless zeros": func(c net.Conn) { _, _ = io.Copy(c, zeros{}) },
		"the longest message": func(c net.Conn) {
			_, _ = c.Write(binary.BigEndian.AppendUint32(nil, 1<<32-1))
			_, _ = io.Copy(c, zeros{})
		},
		"an error of no kind": func(c net.Conn) { _ = agent.WriteMessages(c, &guestv1.LaunchResult{Error: []byte(nasty)}) },
		"two answers": func(c net.Conn) {
			_ = agent.WriteMessages(c, &guestv1.LaunchResult{Error: []byte{8, 5}}, &guestv1.LaunchResult{})
		},
		"an end that is not": func(c net.Conn) {
			_ = agent.WriteMessages(c, &guestv1.LaunchResult{Created: &guestv1.CreateProcessResponse{Exit: &guestv1.Exit{Code: -1, Signal: -9}}})
		},
		"much, and another id": func(c net.Conn) {
			_ = agent.WriteMessages(c, &guestv1.LaunchResult{Created: &guestv1.CreateProcessResponse{Stdout: []byte(long)}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			guest := &liar{streams: func(c net.Conn, r *guestv1.StreamRequest) {
				if r.Kind != guestv1.StreamKind_STREAM_KIND_LAUNCH {
					quiet(c, r)
					return
				}
				defer c.Close()
				if writeHeader(c, &guestv1.StreamResponse{}) != nil {
					return
				}
				var request guestv1.CreateProcessRequest
				for agent.ReadMessage(c, &request, 8<<20) == nil {
					answer(c)
				}
			}}
			guest.hello = &guestv1.HelloResponse{Version: "liar", ProtocolMin: 1, ProtocolMax: 1, Features: []string{"begin", "run", "brief", "launch"}}
			w := newWorld(t, guest)
			s, err := w.begin()
			if err != nil {
				t.Fatal(err)
			}
			for range 5 {
				id, err := s.CreateProcess(sandbox.ProcessRequest{OCIProcess: []byte("{}"), NoInput: true})
				if err != nil {
					t.Fatal(err)
				}
				if err := s.StartProcess(t.Context(), id); err != nil { // which it may well be
					if problem := unfit(err.Error()); problem != "" {
						t.Errorf("what the user sees %s: %.300q", problem, err)
					}
				}
				if brief := s.TakeBrief(id); brief != nil && (brief.Code < 0 || brief.Code > 255) {
					t.Errorf("its end: %+v", brief.Outcome)
				}
				if err := s.DeleteProcess(id); err != nil {
					t.Error(err)
				}
			}
			if outcome := w.stop(s); outcome.Reason != "killed" {
				t.Errorf("outcome %+v", outcome)
			}
			w.holds()
		})
	}
}
