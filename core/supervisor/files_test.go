package supervisor

import (
	"io"
	"testing"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
)

func TestTheCallerAndTheGuestSpeakOfFilesThroughTheSupervisor(t *testing.T) {
	r := newRig(t, nil)
	r.start()
	conn, err := r.client.OpenFiles(r.context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	guest := r.vm.stream(guestv1.StreamKind_STREAM_KIND_FILES)
	if _, err := io.WriteString(conn, "ask"); err != nil {
		t.Fatal(err)
	}
	asked := make([]byte, 3)
	if _, err := io.ReadFull(guest, asked); err != nil || string(asked) != "ask" {
		t.Errorf("the guest has %q, %v", asked, err)
	}
	// The guest answers although the caller has not said its end, and that is the end.
	if _, err := io.WriteString(guest, "answer"); err != nil {
		t.Fatal(err)
	}
	_ = guest.Close()
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "answer" {
		t.Errorf("the caller has %q, %v", answer, err)
	}

	// The end of the container is the end of a connection that nobody uses.
	idle, err := r.client.OpenFiles(r.context())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	r.vm.exits(&guestv1.Exit{})
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if n, _ := idle.Read(make([]byte, 1)); n != 0 {
		t.Error("something came of it")
	}
}
