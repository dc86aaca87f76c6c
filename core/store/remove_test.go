package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/sdk/fault"
)

func TestAContainerIsGoneBeforeWhatItHadIsRemoved(t *testing.T) {
	for name, cleared := range map[string]func(s *Store, finish func() error) error{
		"by who has removed it": func(_ *Store, finish func() error) error { return finish() },
		"by the next who changes the store, if that one was killed": func(s *Store, _ func() error) error {
			changing, err := s.lockForChange(deadline(t))
			return errors.Join(err, changing.Close())
		},
		"by both": func(s *Store, finish func() error) error {
			changing, err := s.lockForChange(deadline(t))
			return errors.Join(err, changing.Close(), finish())
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			c := create(t, s, "web")
			run, err := s.MakeSandboxRun(c.Sandbox)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(s.paths.Sandbox(c.Sandbox), "layer.img"), []byte("much"), 0o600); err != nil {
				t.Fatal(err)
			}
			advance(t, s, c.ID, lifecycle.Remove)
			finish, err := s.RemoveWhole(deadline(t), c.ID, c.Sandbox, false)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(c.ID); !errors.Is(err, fault.NotFound) {
				t.Errorf("its record: %v", err)
			}
			if _, err := s.GetSandbox(c.Sandbox); !errors.Is(err, fault.NotFound) {
				t.Errorf("its sandbox: %v", err)
			}
			if _, err := os.Lstat(run); !errors.Is(err, os.ErrNotExist) { // who is killed before the end leaves nothing that nobody finds
				t.Errorf("its runtime directory: %v", err)
			}
			if err := cleared(s, finish); err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(s.paths.staging()); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
			create(t, s, "web") // the name is free
			if err := finish(); err != nil {
				t.Errorf("once more: %v", err)
			}
		})
	}
}
