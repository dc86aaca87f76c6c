package store

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Entry is a container as List found it. If Err is set the record is damaged: only ID holds, and [Store.Remove] is what is left to do.
type Entry struct {
	ID        string
	Container Container
	Err       error
}

// Resolve returns the id of the container that ref means: its name, its id, or the beginning of its id that no other has. The record is not
// read, so that damaged ones can be removed.
func (s *Store) Resolve(ref string) (string, error) {
	if validID(ref) {
		if _, err := os.Lstat(s.paths.Container(ref)); err == nil {
			return ref, nil
		}
	}
	if CheckName(ref) != nil {
		return "", notFound(ref) // not an id either
	}
	owner, err := s.owner(ref)
	if err == nil && owner != "" {
		if _, err := os.Lstat(s.paths.Container(owner)); err == nil {
			return owner, nil
		}
	}
	ids, err := s.ids()
	if err != nil {
		return "", err
	}
	var found []string
	for _, id := range ids {
		if strings.HasPrefix(id, ref) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return "", notFound(ref)
	case 1:
		return found[0], nil
	}
	for i := range found {
		found[i] = ShortID(found[i])
	}
	return "", &fault.Error{Reason: fault.Invalid, Op: "find container", Subject: ref,
		Cause: fmt.Errorf("the ids of several begin so: %s", strings.Join(found, ", ")), Hint: "write more of the id"}
}

// Get returns the record of a container, settled: see [Settle].
func (s *Store) Get(id string) (Container, error) {
	var c Container
	if !validID(id) {
		return c, notFound(id)
	}
	if err := s.read(id, &c); err != nil {
		return c, err
	}
	return s.settle(c)
}

// Find is Resolve and Get.
func (s *Store) Find(ref string) (Container, error) {
	id, err := s.Resolve(ref)
	if err != nil {
		return Container{}, err
	}
	return s.Get(id)
}

// GetSandbox returns the record of a sandbox.
func (s *Store) GetSandbox(id string) (Sandbox, error) {
	var b Sandbox
	if !validID(id) {
		return b, sandboxNotFound(id)
	}
	err := readRecord(s.paths.SandboxRecord(id), &b)
	if errors.Is(err, os.ErrNotExist) {
		return b, sandboxNotFound(id)
	}
	if err == nil && b.ID != id {
		err = damaged(s.paths.SandboxRecord(id), fmt.Errorf("it is of %q", b.ID))
	}
	return b, err
}

// Alive reports whether a supervisor looks after the sandbox.
func (s *Store) Alive(sandbox string) (bool, error) {
	if !validID(sandbox) {
		return false, nil
	}
	return lock.Held(s.paths.SandboxLife(sandbox))
}

// List returns all containers, settled, the newest first, the damaged ones last. It reads files and asks locks, no more; containers may come and
// go meanwhile.
func (s *Store) List() ([]Entry, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(ids))
	var readers sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), 8)
	for w := range workers {
		readers.Go(func() {
			for i := w; i < len(ids); i += workers {
				c, err := s.Get(ids[i])
				entries[i] = Entry{ID: ids[i], Container: c, Err: err}
			}
		})
	}
	readers.Wait()
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return errors.Is(e.Err, fault.NotFound) })
	slices.SortFunc(entries, func(a, b Entry) int {
		switch {
		case a.Err == nil && b.Err == nil:
			if c := b.Container.Created.Compare(a.Container.Created); c != 0 {
				return c
			}
		case a.Err != nil && b.Err == nil:
			return 1
		case a.Err == nil && b.Err != nil:
			return -1
		}
		return strings.Compare(a.ID, b.ID)
	})
	return entries, nil
}

// Leases are the files that containers, even stopped ones, cannot do without. The values are ids of containers, or of sandboxes for kernels.
type Leases struct {
	Manifests map[digest.Digest][]string
	Disks     map[string][]string // by path
	Kernels   map[string][]string // by path
}

// Leases fails if a record cannot be read: nobody knows what that container needs, so nothing may be deleted.
func (s *Store) Leases() (Leases, error) {
	l := Leases{Manifests: map[digest.Digest][]string{}, Disks: map[string][]string{}, Kernels: map[string][]string{}}
	entries, err := s.List()
	if err != nil {
		return l, err
	}
	for _, e := range entries {
		if e.Err != nil {
			return l, fmt.Errorf("what container %s uses is unknown: %w", ShortID(e.ID), e.Err)
		}
		if m := e.Container.Manifest; m != "" {
			l.Manifests[m] = append(l.Manifests[m], e.ID)
		}
		for _, d := range e.Container.Disks {
			l.Disks[d.Path] = append(l.Disks[d.Path], e.ID)
		}
	}
	sandboxes, err := s.Sandboxes()
	if err != nil {
		return l, err
	}
	for _, id := range sandboxes {
		b, err := s.GetSandbox(id)
		if errors.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return l, fmt.Errorf("what sandbox %s uses is unknown: %w", ShortID(id), err)
		}
		l.Kernels[b.Kernel.Path] = append(l.Kernels[b.Kernel.Path], id)
	}
	return l, nil
}

// Sandboxes returns the ids of all sandboxes.
func (s *Store) Sandboxes() ([]string, error) { return directories(s.paths.Sandboxes()) }

func (s *Store) ids() ([]string, error) { return directories(s.paths.Containers()) }

func directories(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	if err := errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !validID(n) })
	slices.Sort(names)
	return names, nil
}

// read the record as it is on disk.
func (s *Store) read(id string, c *Container) error { return s.readAs(id, c, &c.ID) }

// readAs reads it into a type that has all of it or a part; got is the id in that.
func (s *Store) readAs(id string, record versioned, got *string) error {
	path := s.paths.ContainerRecord(id)
	err := readRecord(path, record)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Lstat(s.paths.Container(id)); err == nil {
			return damaged(path, errors.New("it is missing"))
		}
		return notFound(id)
	}
	if err == nil && *got != id {
		err = damaged(path, fmt.Errorf("it is of %q", *got))
	}
	return err
}

// settle asks who looks after the container. A writer writes before it lets go of its lock, so a record read after the lock was found free is the
// last one.
func (s *Store) settle(c Container) (Container, error) {
	if !c.State.Active() && c.State != lifecycle.Creating {
		return c, nil
	}
	alive, err := s.lookedAfter(c)
	if err != nil || alive {
		return Settle(c, true, s.bootID, nil), err
	}
	id := c.ID
	c = Container{}
	if err := s.read(id, &c); err != nil {
		return c, err
	}
	var last *Exit
	if words := new(Exit); validID(c.Sandbox) && ReadJSON(s.paths.LastWords(c.Sandbox), words) == nil {
		last = words
	}
	return Settle(c, false, s.bootID, last), nil
}

// lookedAfter reports whether a supervisor holds the life lock or, where there is none yet, a verb the container's lock.
func (s *Store) lookedAfter(c Container) (bool, error) {
	alive, err := s.Alive(c.Sandbox)
	if err != nil || alive {
		return alive, err
	}
	if c.State != lifecycle.Creating && c.State != lifecycle.Starting {
		return false, nil
	}
	alive, err = lock.Held(s.paths.ContainerLock(c.ID))
	if err != nil || alive {
		return alive, err
	}
	// The verb may have handed over to the supervisor between the two questions.
	return s.Alive(c.Sandbox)
}
