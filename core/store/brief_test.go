package store

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/sdk/fault"
)

// TestWhoSpeaksToAContainerFindsItAsFindDoes, whether somebody looks after it or not.
func TestWhoSpeaksToAContainerFindsItAsFindDoes(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id, box := NewID(), NewID()
	held, err := s.Create(t.Context(), Container{ID: id, Name: "web", Sandbox: box, Created: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateSandbox(t.Context(), Sandbox{ID: box, Containers: []string{id}, RuntimeDir: "/run/x"}); err != nil {
		t.Fatal(err)
	}
	same := func(want lifecycle.State) {
		t.Helper()
		for _, ref := range []string{"web", id, id[:12]} {
			whole, err := s.Find(ref)
			part, partErr := s.FindActive(ref)
			if err != nil || partErr != nil || part.ID != id || part.Name != "web" || part.Sandbox != box || part.State != want || whole.State != want {
				t.Errorf("%s: found %+v, %v, want %s; Find says %s, %v", ref, part, partErr, want, whole.State, err)
			}
		}
	}
	same(lifecycle.Creating)
	for _, event := range []lifecycle.Event{lifecycle.Made, lifecycle.Start, lifecycle.Started} {
		if _, err := s.Update(t.Context(), id, func(c *Container) error { return c.Advance(event) }); err != nil {
			t.Fatal(err)
		}
	}
	life, err := lock.Try(s.Paths().SandboxLife(box))
	if err != nil {
		t.Fatal(err)
	}
	same(lifecycle.Running)
	if err := errors.Join(life.Close(), held.Close()); err != nil {
		t.Fatal(err)
	}
	same(lifecycle.Stopped) // its supervisor has died
	if run, err := s.RuntimeDir(box); run != "/run/x" || err != nil {
		t.Errorf("%q, %v", run, err)
	}
	for _, box := range []string{NewID(), "../x"} {
		if _, err := s.RuntimeDir(box); !errors.Is(err, fault.NotFound) {
			t.Errorf("of sandbox %q: %v", box, err)
		}
	}
	if _, err := s.FindActive("nobody"); !errors.Is(err, fault.NotFound) {
		t.Errorf("of nobody: %v", err)
	}
	for _, text := range []string{"{", `{"schema":99}`, `{"schema":2,"id":"another"}`, `{"schema":2,"id":1}`} {
		if err := errors.Join(os.WriteFile(s.Paths().ContainerRecord(id), []byte(text), 0o600), os.WriteFile(s.Paths().SandboxRecord(box), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		if c, err := s.FindActive("web"); err == nil {
			t.Errorf("%s was found: %+v", text, c)
		}
		if run, err := s.RuntimeDir(box); err == nil {
			t.Errorf("%s has %q", text, run)
		}
	}
}
