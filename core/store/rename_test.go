package store

import (
	"errors"
	"testing"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/sdk/fault"
)

func TestARenamedContainerIsFoundByItsNewNameAlone(t *testing.T) {
	s := open(t)
	c := create(t, s, "web")
	other := create(t, s, "db")
	rename := func(id, name string) error {
		_, err := s.Rename(deadline(t), id, name, func(c *Container) error { return c.Advance(lifecycle.Rename) })
		return err
	}
	if err := rename(c.ID, "www"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Find("www"); err != nil || got.ID != c.ID || got.Name != "www" {
		t.Errorf("found %+v, %v", got, err)
	}
	if _, err := s.Find("web"); !errors.Is(err, fault.NotFound) {
		t.Errorf("by its old name: %v", err)
	}
	for name, reason := range map[string]error{"db": fault.AlreadyExists, "www": fault.AlreadyExists, "a b": fault.Invalid} {
		if err := rename(c.ID, name); !errors.Is(err, reason) {
			t.Errorf("to %q: %v", name, err)
		}
	}
	if err := rename(other.ID, "web"); err != nil {
		t.Errorf("to a name that is free again: %v", err)
	}
	create(t, s, "db")
}

func TestARenameThatWasKilledLeavesNoNameTaken(t *testing.T) {
	s := open(t)
	c := create(t, s, "web")
	// Killed before the record, and another time after it.
	if err := replaceFile(s.paths.Name("www"), []byte(c.ID), false); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Find("web"); err != nil || got.ID != c.ID {
		t.Errorf("found %+v, %v", got, err)
	}
	if got := create(t, s, "www"); got.ID == c.ID {
		t.Error("the name leads to the other")
	}
	if got, err := s.Find("www"); err != nil || got.ID == c.ID {
		t.Errorf("found %+v, %v", got, err)
	}
}
