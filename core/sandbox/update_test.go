package sandbox

import (
	"errors"
	"strings"
	"testing"

	guestv1 "github.com/vzctl/vzctl/guest/proto/vzctl/guest/v1"
	"github.com/vzctl/vzctl/sdk/fault"
)

func TestAnUpdateOfAnOlderGuestSaysWhatToDo(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	if err := s.Update(t.Context(), []byte(`{"pids":{"limit":5}}`)); err != nil {
		t.Error(err)
	}
	w.mu.Lock()
	w.fail["update {\"pids\":{\"limit\":5}}"] = &fault.Error{Reason: fault.Unsupported, Op: "UpdateContainer"}
	w.mu.Unlock()
	if err := s.Update(t.Context(), []byte(`{"pids":{"limit":5}}`)); !errors.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "older init image") {
		t.Errorf("error %v", err)
	}
	if err := s.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), nil); !errors.Is(err, fault.FailedPrecondition) {
		t.Errorf("of a paused one: %v", err)
	}
	if err := s.Unpause(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.exits(&guestv1.Exit{})
	w.wait(s)
}
