package store

import (
	"errors"
	"fmt"
	"os"

	"github.com/vzctl/vzctl/core/lifecycle"
)

// brief is a part of a container's record, and whereabouts one of a sandbox's. Who only wants to speak to a container reads them in a fraction of the time that a whole record takes, of which most is
// spent on learning, in each process anew, what could be in it.
type (
	brief struct {
		Schema  int             `json:"schema"`
		ID      string          `json:"id"`
		Name    string          `json:"name"`
		Sandbox string          `json:"sandbox"`
		State   lifecycle.State `json:"state"`
		BootID  string          `json:"bootId"`
	}
	whereabouts struct {
		Schema     int    `json:"schema"`
		ID         string `json:"id"`
		RuntimeDir string `json:"runtimeDir"`
	}
)

func (b *brief) schema() int       { return b.Schema }
func (p *whereabouts) schema() int { return p.Schema }

// FindActive is Find for who wants to speak to a container that is active. Of any the id, name, sandbox and state are right, and the rest is missing.
func (s *Store) FindActive(ref string) (Container, error) {
	id, err := s.Resolve(ref)
	if err != nil {
		return Container{}, err
	}
	var b brief
	if err := s.readAs(id, &b, &b.ID); err != nil {
		return Container{}, err
	}
	c, err := s.settle(Container{Schema: b.Schema, ID: b.ID, Name: b.Name, Sandbox: b.Sandbox, State: b.State, BootID: b.BootID})
	return Container{Schema: c.Schema, ID: c.ID, Name: c.Name, Sandbox: c.Sandbox, State: c.State, BootID: c.BootID}, err
}

// RuntimeDir returns where a sandbox's sockets are.
func (s *Store) RuntimeDir(sandbox string) (string, error) {
	if !validID(sandbox) {
		return "", sandboxNotFound(sandbox)
	}
	var p whereabouts
	path := s.paths.SandboxRecord(sandbox)
	err := readRecord(path, &p)
	if errors.Is(err, os.ErrNotExist) {
		return "", sandboxNotFound(sandbox)
	}
	if err == nil && p.ID != sandbox {
		err = damaged(path, fmt.Errorf("it is of %q", p.ID))
	}
	return p.RuntimeDir, err
}
