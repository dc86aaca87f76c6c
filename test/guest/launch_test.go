package guest

import (
	"errors"
	"testing"

	"github.com/vzctl/vzctl/core/agent"
	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/guest/serialmux"
	"github.com/vzctl/vzctl/sdk/fault"
)

const (
	launchAnswer = 1 << 20
	briefly      = 1000 // milliseconds
)

// shell is a request for a script in container c that ends at once.
func shell(id, script string) *guestv1.CreateProcessRequest {
	return &guestv1.CreateProcessRequest{ContainerId: "c", ProcessId: id, Start: true, InputEnded: true, BriefMilliseconds: briefly,
		Plain: &guestv1.PlainProcess{Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin"}, Cwd: "/"}}
}

// launched makes one request over a stream of kind LAUNCH.
func launched(conn *serialmux.Conn, request *guestv1.CreateProcessRequest) (*guestv1.CreateProcessResponse, error) {
	var result guestv1.LaunchResult
	if err := errors.Join(agent.WriteMessages(conn, request), agent.ReadMessage(conn, &result, launchAnswer)); err != nil {
		return nil, err
	}
	if len(result.Error) == 0 {
		return result.Created, nil
	}
	failure, ok := fault.Unmarshal(result.Error)
	if !ok {
		return nil, errors.New("it says that it failed, but not why")
	}
	return nil, failure
}

// checkLaunch has processes created over streams that last, in container c.
func checkLaunch(t *testing.T, g *Guest) {
	open := func() *serialmux.Conn {
		t.Helper()
		conn, err := g.Open("", "", guestv1.StreamKind_STREAM_KIND_LAUNCH)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	conn := open()
	says := func(script string) string {
		t.Helper()
		answer, err := launched(conn, shell("a", script)) // under the same id: of the one before nothing is left
		if err != nil || answer.Exit == nil {
			t.Fatalf("%q: %v, %v", script, answer, err)
		}
		return string(answer.Stdout)
	}
	if got := says("cat; echo said; exit 3"); got != "said\n" {
		t.Errorf("it says %q", got)
	}
	missing := shell("b", "")
	missing.Plain.Args = []string{"nosuch"}
	_, err := launched(conn, missing)
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.Op != "execute" || e.Reason != fault.NotFound {
		t.Errorf("a program that is not there: %v", err)
	}
	bad := &guestv1.CreateProcessRequest{ContainerId: "c", ProcessId: "b", OciProcess: []byte(`{"args":["true"],"cwd":"/","scheduler":{"policy":"SCHED_FIFO"}}`), Start: true}
	if _, err := launched(conn, bad); err == nil {
		t.Error("what cannot be enforced is passed over")
	}
	// Whose account it has is found out anew when the files say something else.
	says("cp /etc/passwd /etc/before; sleep 0.7")
	says("sleep 0.7")
	for range 2 {
		if got := says("echo $HOME"); got != "/root\n" {
			t.Errorf("root's home is %q", got)
		}
	}
	says("sed 's:/root:/other:' /etc/before >/etc/passwd")
	if got := says("echo $HOME"); got != "/other\n" {
		t.Errorf("after a change root's home is %q", got)
	}
	says("sed 's:/root:/third:' /etc/before >/etc/new; mv /etc/new /etc/passwd; sleep 0.7")
	says("sleep 0.7")
	for range 2 {
		if got := says("echo $HOME"); got != "/third\n" {
			t.Errorf("with another file root's home is %q", got)
		}
	}
	says("mv /etc/before /etc/passwd")
	if got := says("echo $HOME"); got != "/root\n" {
		t.Errorf("as it was root's home is %q", got)
	}
	// A host that leaves takes back what is not answered.
	leaving := open()
	if err := agent.WriteMessages(leaving, shell("left", "echo $$ >/begun; sleep 1000")); err != nil {
		t.Fatal(err)
	}
	says("while [ ! -s /begun ]; do sleep 0.02; done")
	if err := leaving.Close(); err != nil {
		t.Fatal(err)
	}
	if got := says("while kill -0 $(cat /begun); do sleep 0.02; done 2>/dev/null; echo ended"); got != "ended\n" {
		t.Errorf("a process that nobody knows of: %q", got)
	}
	// One that goes on is as any other.
	goes := shell("goes", "sleep 1000")
	goes.BriefMilliseconds = 10
	if answer, err := launched(conn, goes); err != nil || answer.Exit != nil {
		t.Fatalf("%v, %v", answer, err)
	}
	if _, err := g.SignalProcess(t.Context(), &guestv1.SignalProcessRequest{ContainerId: "c", ProcessId: "goes", Signal: 9}); err != nil {
		t.Error(err)
	}
	if exit := g.Wait("c", "goes"); exit.Signal != 9 || exit.OomKilled {
		t.Errorf("its end: %v", exit)
	}
	if _, err := g.DeleteProcess(t.Context(), &guestv1.DeleteProcessRequest{ContainerId: "c", ProcessId: "goes"}); err != nil {
		t.Error(err)
	}
}
