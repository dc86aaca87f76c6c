package guest

import (
	"errors"
	"io"
	"testing"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

// checkRun has processes created and started with one call, in container c.
func checkRun(t *testing.T, g *Guest) {
	run := func(args string) error {
		text := `{"args":` + args + `,"cwd":"/","env":["PATH=/bin"],"user":{"uid":0,"gid":0}}`
		_, err := g.CreateProcess(t.Context(), &guestv1.CreateProcessRequest{ContainerId: "c", ProcessId: "run", OciProcess: []byte(text), Start: true, InputEnded: true})
		return err
	}
	err := run(`["nosuch"]`)
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.Op != "execute" || e.Reason != fault.NotFound {
		t.Errorf("a program that is not there: %v", err)
	}
	if err := run(`["sh","-c","cat; echo done; exit 3"]`); err != nil { // under the same id: of the first nothing is left
		t.Fatal(err)
	}
	if exit := g.Wait("c", "run"); exit.Code != 3 {
		t.Errorf("its end: %v", exit)
	}
	// It has ended, and what it wrote is still there.
	conn, err := g.Open("c", "run", guestv1.StreamKind_STREAM_KIND_STDOUT)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); string(got) != "done\n" || err != nil {
		t.Errorf("it wrote %q, %v", got, err)
	}
	if _, err := g.DeleteProcess(t.Context(), &guestv1.DeleteProcessRequest{ContainerId: "c", ProcessId: "run"}); err != nil {
		t.Error(err)
	}
}
