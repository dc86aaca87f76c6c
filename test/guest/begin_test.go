package guest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

// TestVMBeginsWithFewCalls is the ability "begin": a container is created with the machine's identity and without input, and its process is run and waited for by one call.
func TestVMBeginsWithFewCalls(t *testing.T) {
	g := Start(t, Options{Disks: []Disk{Image(t).Named("rootfs0"), Layer(t).Named("layer")}})
	create := func(id string, adopt *guestv1.AdoptRequest, args ...string) error {
		return g.Create(Container{ID: id, Args: args, Ask: func(r *guestv1.CreateContainerRequest) { r.InputEnded, r.Adopt = true, adopt }})
	}
	run := func(ctx context.Context, id string) (_ *guestv1.RunProcessResponse, next func() (*guestv1.RunProcessResponse, error), err error) {
		t.Helper()
		call, err := g.RunProcess(ctx, &guestv1.RunProcessRequest{ContainerId: id, ProcessId: "init"})
		if err != nil {
			t.Fatal(err)
		}
		first, err := call.Recv()
		return first, call.Recv, err
	}
	remove := func(id string) {
		t.Helper()
		if _, err := g.DeleteContainer(t.Context(), &guestv1.DeleteContainerRequest{ContainerId: id}); err != nil {
			t.Fatal(err)
		}
	}
	identity := func(hostname string) *guestv1.AdoptRequest {
		return &guestv1.AdoptRequest{Hostname: hostname, Entropy: make([]byte, 64), Time: timestamppb.Now()}
	}

	t.Run("a whole life", func(t *testing.T) {
		if err := create("life", identity("machine"), "sh", "-c", "cat; echo ended; exit 3"); err != nil {
			t.Fatal(err)
		}
		defer remove("life")
		stdout, err := g.Open("life", "init", guestv1.StreamKind_STREAM_KIND_STDOUT)
		if err != nil {
			t.Fatal(err)
		}
		started, next, err := run(t.Context(), "life")
		if err != nil || started.GetStarted().GetPid() <= 0 {
			t.Fatalf("it has started: %v, %v", started, err)
		}
		if text, err := io.ReadAll(stdout); string(text) != "ended\n" || err != nil {
			t.Errorf("it wrote %q, %v", text, err)
		}
		if ended, err := next(); err != nil || ended.GetExit().GetCode() != 3 {
			t.Errorf("it has ended: %v, %v", ended, err)
		}
		if _, err := next(); !errors.Is(err, io.EOF) {
			t.Errorf("and then comes %v", err)
		}
	})
	t.Run("a brief life", func(t *testing.T) { checkBriefRun(t, g) })
	t.Run("a program that is not there", func(t *testing.T) {
		if err := create("missing", identity("machine"), "/no/such"); err != nil {
			t.Fatal(err)
		}
		defer remove("missing")
		if _, _, err := run(t.Context(), "missing"); status.Code(err) != codes.NotFound {
			t.Errorf("error %v", err)
		}
	})
	t.Run("an identity that is not possible", func(t *testing.T) {
		bad := identity("machine")
		bad.Interfaces = []*guestv1.Interface{{Mac: "nonsense"}}
		if err := create("bad", bad, "true"); err == nil || !strings.Contains(err.Error(), `adopt "interfaces"`) {
			t.Errorf("error %v", err)
		}
		if err := create("bad", nil, "true"); err != nil {
			t.Errorf("it left something: %v", err)
		}
		remove("bad")
	})
	t.Run("a caller that goes", func(t *testing.T) {
		if err := create("alone", nil, "sleep", "1000"); err != nil {
			t.Fatal(err)
		}
		defer remove("alone")
		ctx, cancel := context.WithCancel(t.Context())
		_, next, err := run(ctx, "alone")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := next(); status.Code(err) != codes.Canceled {
			t.Errorf("error %v", err)
		}
		if _, err := g.SignalProcess(t.Context(), &guestv1.SignalProcessRequest{ContainerId: "alone", ProcessId: "init", Signal: 9}); err != nil {
			t.Errorf("it does not go on: %v", err)
		}
		if exit := g.Wait("alone", "init"); exit.Signal != 9 {
			t.Errorf("it ended with %v", exit)
		}
	})
}

// checkBriefRun is the ability "brief-run": the end of a first process tells what it wrote, unless somebody has its streams, or it is too much.
func checkBriefRun(t *testing.T, g *Guest) {
	const much = 64 << 10
	for name, test := range map[string]struct {
		script         string
		brief          bool
		open           guestv1.StreamKind // by the host, before it runs
		told           bool
		stdout, stderr string
	}{
		"that writes to both":     {"cat; printf said; printf cried >&2; exit 3", true, 0, true, "said", "cried"},
		"that writes nothing":     {"exit 3", true, 0, true, "", ""},
		"with others at its end":  {"sleep 1000 & printf said; exit 3", true, 0, true, "said", ""},
		"whose host does not ask": {"printf said; exit 3", false, 0, false, "said", ""},
		"whose stderr is open":    {"printf said; printf cried >&2; exit 3", true, guestv1.StreamKind_STREAM_KIND_STDERR, false, "said", "cried"},
		"that writes much":        {"printf cried >&2; head -c 65536 /dev/zero | tr '\\0' x; exit 3", true, 0, false, strings.Repeat("x", much), "cried"},
	} {
		if err := g.Create(Container{ID: "brief", Args: []string{"sh", "-c", test.script}, Ask: func(r *guestv1.CreateContainerRequest) { r.InputEnded = true }}); err != nil {
			t.Fatal(err)
		}
		conns := map[guestv1.StreamKind]io.Reader{}
		open := func(kind guestv1.StreamKind) error {
			conn, err := g.Open("brief", "init", kind)
			if err == nil {
				conns[kind] = conn
			}
			return err
		}
		if test.open != 0 {
			if err := open(test.open); err != nil {
				t.Fatal(err)
			}
		}
		call, err := g.RunProcess(t.Context(), &guestv1.RunProcessRequest{ContainerId: "brief", ProcessId: "init", Brief: test.brief})
		if err != nil {
			t.Fatal(err)
		}
		if started, err := call.Recv(); err != nil || started.GetStarted() == nil || started.GetOutput() != nil {
			t.Fatalf("a process %s has started: %v, %v", name, started, err)
		}
		ended, err := call.Recv()
		if err != nil || ended.GetExit().GetCode() != 3 || (ended.GetOutput() != nil) != test.told {
			t.Errorf("a process %s has ended: %.200v, %v", name, ended, err)
		}
		if test.told && (string(ended.GetOutput().GetStdout()) != test.stdout || string(ended.GetOutput().GetStderr()) != test.stderr) {
			t.Errorf("a process %s was told %.200v", name, ended)
		}
		for kind, want := range map[guestv1.StreamKind]string{guestv1.StreamKind_STREAM_KIND_STDOUT: test.stdout, guestv1.StreamKind_STREAM_KIND_STDERR: test.stderr} {
			if conns[kind] == nil {
				err := open(kind)
				if test.told != (err != nil) {
					t.Errorf("the streams of a process %s after its end: %v", name, err)
				}
				if err != nil {
					continue
				}
			}
			if got, err := io.ReadAll(conns[kind]); string(got) != want || err != nil {
				t.Errorf("of a process %s a stream has %d bytes, not %d, %v", name, len(got), len(want), err)
			}
		}
		if _, err := g.DeleteContainer(t.Context(), &guestv1.DeleteContainerRequest{ContainerId: "brief"}); err != nil {
			t.Fatal(err)
		}
	}
}
