package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vzctl/vzctl/core/lifecycle"
	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/sdk/fault"
)

// Create adds a container in the state creating and returns its lock, so that nobody takes it for abandoned before it is complete. ID and Name
// must be set; of several creators of one name exactly one succeeds, the others get fault.AlreadyExists.
func (s *Store) Create(ctx context.Context, c Container) (*lock.Lock, error) {
	if err := CheckName(c.Name); err != nil {
		return nil, err
	}
	if !validID(c.ID) {
		return nil, &fault.Error{Reason: fault.Invalid, Op: "create container", Subject: c.ID, Cause: errors.New("not an id")}
	}
	c.Schema, c.State, c.BootID = SchemaVersion, lifecycle.Creating, s.bootID
	changing, err := s.lockForChange(ctx)
	if err != nil {
		return nil, err
	}
	defer changing.Close()
	if err := s.checkNameFree(c.Name); err != nil {
		return nil, err
	}
	// The name first: one that leads nowhere is free, a container that cannot be found by its name would be a surprise.
	if err := replaceFile(s.paths.Name(c.Name), []byte(c.ID), false); err != nil {
		return nil, &fault.Error{Reason: reasonOf(err), Op: "create container", Subject: c.Name, Cause: bare(err)}
	}
	staged := filepath.Join(s.paths.staging(), c.ID)
	held, err := s.place(staged, s.paths.Container(c.ID), containerRecord, c, false)
	if err != nil {
		return nil, errors.Join(&fault.Error{Reason: reasonOf(err), Op: "create container", Subject: c.Name, Cause: bare(err)},
			os.Remove(s.paths.Name(c.Name)))
	}
	return held, nil
}

// CreateSandbox adds a sandbox, of which not all is known yet; see CompleteSandbox.
func (s *Store) CreateSandbox(ctx context.Context, b Sandbox) error {
	if !validID(b.ID) {
		return &fault.Error{Reason: fault.Invalid, Op: "create sandbox", Subject: b.ID, Cause: errors.New("not an id")}
	}
	b.Schema = SchemaVersion
	changing, err := s.lockForChange(ctx)
	if err != nil {
		return err
	}
	defer changing.Close()
	held, err := s.place(filepath.Join(s.paths.staging(), b.ID), s.paths.Sandbox(b.ID), sandboxRecord, b, false)
	if err != nil {
		return &fault.Error{Reason: reasonOf(err), Op: "create sandbox", Subject: b.ID, Cause: bare(err)}
	}
	return held.Close()
}

// place makes a directory with a lock, held, and a record, and lets it appear complete.
func (s *Store) place(staged, final, name string, record any, durable bool) (held *lock.Lock, err error) {
	if _, err := os.Lstat(final); err == nil {
		return nil, os.ErrExist
	}
	if err := os.Mkdir(staged, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			if held != nil {
				err = errors.Join(err, held.Close())
			}
			err = errors.Join(err, os.RemoveAll(staged))
			held = nil
		}
	}()
	if held, err = lock.Try(filepath.Join(staged, "lock")); err != nil {
		return held, err
	}
	if err = WriteJSON(filepath.Join(staged, name), record, durable); err != nil {
		return held, err
	}
	return held, os.Rename(staged, final)
}

// Update changes the record of a container: change gets it settled (see [Settle]) and alters it; if change fails nothing is written. Changes
// of one record come one after the other. A record that enters a state that must survive the host, or has another name or checkpoint, is on the disk when Update returns.
func (s *Store) Update(ctx context.Context, id string, change func(*Container) error) (Container, error) {
	return s.update(ctx, id, change, true)
}

// UpdateFleeting is Update of a container that is removed at its end, to a state that it leaves soon: nobody needs it after the host was down, so the disk is not waited for.
func (s *Store) UpdateFleeting(ctx context.Context, id string, change func(*Container) error) (Container, error) {
	return s.update(ctx, id, change, false)
}

func (s *Store) update(ctx context.Context, id string, change func(*Container) error, durable bool) (Container, error) {
	var c Container
	if !validID(id) {
		return c, notFound(id)
	}
	writing, err := lock.Acquire(ctx, s.paths.containerWriting(id))
	if errors.Is(err, os.ErrNotExist) {
		return c, notFound(id)
	}
	if err != nil {
		return c, err
	}
	defer writing.Close()
	if err := s.read(id, &c); err != nil {
		return c, err
	}
	before, name, saved := c.State, c.Name, c.Checkpoint
	if c, err = s.settle(c); err != nil {
		return c, err
	}
	if err := change(&c); err != nil {
		return c, err
	}
	if c.ID != id {
		return c, fmt.Errorf("a change turned container %s into %s", id, c.ID)
	}
	c.Schema, c.BootID = SchemaVersion, s.bootID
	settled := durable && c.State != before && c.State.Settled()
	if err := WriteJSON(s.paths.ContainerRecord(id), c, settled || c.Name != name || c.Checkpoint != saved); err != nil {
		return c, err
	}
	if durable && before == lifecycle.Creating { // its directories are new, too
		return c, errors.Join(syncDir(s.paths.Containers()), syncDir(s.paths.Sandboxes()), syncDir(s.paths.Names()))
	}
	return c, nil
}

// Rename is Update of a container that is to have another name, which none has; change comes before. The name of before is free then.
func (s *Store) Rename(ctx context.Context, id, name string, change func(*Container) error) (Container, error) {
	if err := CheckName(name); err != nil {
		return Container{}, err
	}
	changing, err := s.lockForChange(ctx)
	if err != nil {
		return Container{}, err
	}
	defer changing.Close()
	c, err := s.Get(id)
	if err == nil {
		err = change(&c)
	}
	if err == nil {
		err = s.checkNameFree(name)
	}
	if err != nil {
		return Container{}, err
	}
	before := c.Name
	// Both lead to it until it is on record.
	if err := replaceFile(s.paths.Name(name), []byte(id), true); err != nil {
		return Container{}, &fault.Error{Reason: reasonOf(err), Op: "rename container", Subject: before, Cause: bare(err)}
	}
	c, err = s.Update(ctx, id, func(c *Container) error {
		err := change(c)
		c.Name = name
		return err
	})
	other := before
	if now, getErr := s.Get(id); err != nil && getErr == nil && now.Name != name {
		other = name
	}
	if removeErr := os.Remove(s.paths.Name(other)); removeErr != nil && !errors.Is(removeErr, os.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return c, err
}

// UpdateSandbox is Update for a sandbox.
func (s *Store) UpdateSandbox(ctx context.Context, id string, change func(*Sandbox) error) (Sandbox, error) {
	return s.updateSandbox(ctx, id, change, false)
}

// CompleteSandbox replaces the record of a sandbox that was created. It is on the disk when the container's is that it was made for.
func (s *Store) CompleteSandbox(ctx context.Context, b Sandbox) error {
	return s.replaceSandbox(ctx, b, true)
}

// ReplaceSandbox is CompleteSandbox, and does not wait for the disk.
func (s *Store) ReplaceSandbox(ctx context.Context, b Sandbox) error {
	return s.replaceSandbox(ctx, b, false)
}

func (s *Store) replaceSandbox(ctx context.Context, b Sandbox, durable bool) error {
	_, err := s.updateSandbox(ctx, b.ID, func(record *Sandbox) error { *record = b; return nil }, durable)
	return err
}

func (s *Store) updateSandbox(ctx context.Context, id string, change func(*Sandbox) error, durable bool) (Sandbox, error) {
	var b Sandbox
	if !validID(id) {
		return b, sandboxNotFound(id)
	}
	writing, err := lock.Acquire(ctx, s.paths.sandboxWriting(id))
	if errors.Is(err, os.ErrNotExist) {
		return b, sandboxNotFound(id)
	}
	if err != nil {
		return b, err
	}
	defer writing.Close()
	if b, err = s.GetSandbox(id); err != nil {
		return b, err
	}
	if err := change(&b); err != nil {
		return b, err
	}
	b.Schema = SchemaVersion
	return b, WriteJSON(s.paths.SandboxRecord(id), b, durable)
}

// Remove takes a container off the disk, and its name with it; its record may be damaged. That there is none is no error. The caller holds the
// container's lock.
func (s *Store) Remove(ctx context.Context, id string) error {
	if !validID(id) {
		return notFound(id)
	}
	changing, err := s.lockForChange(ctx)
	if err != nil {
		return err
	}
	defer changing.Close()
	out, err := s.putContainerAside(id, true)
	if err == nil {
		err = os.RemoveAll(out)
	}
	if err != nil {
		return &fault.Error{Reason: reasonOf(err), Op: "remove container", Subject: id, Cause: bare(err)}
	}
	return nil
}

// RemoveWhole is RemoveSandbox and Remove, but what was in them is on the disk until finish is called, or somebody changes the store: who waits for the end of a container need not wait
// for that. Unless it is durable it may all be there again after the host was down, until finish has returned. The runtime directory is gone at once: nobody would find it any more.
func (s *Store) RemoveWhole(ctx context.Context, id, sandbox string, durable bool) (finish func() error, err error) {
	if !validID(id) {
		return nil, notFound(id)
	}
	if !validID(sandbox) {
		return nil, sandboxNotFound(sandbox)
	}
	changing, err := s.lockForChange(ctx)
	if err != nil {
		return nil, err
	}
	defer changing.Close()
	out := [2]string{}
	if err = os.RemoveAll(s.runOf(sandbox)); err == nil {
		out[0], err = s.putAside(s.paths.Sandbox(sandbox), durable)
	}
	if err == nil {
		out[1], err = s.putContainerAside(id, durable)
	}
	if err != nil {
		return nil, &fault.Error{Reason: reasonOf(err), Op: "remove container", Subject: id, Cause: bare(err)}
	}
	return func() error {
		var err error
		if !durable {
			err = errors.Join(syncDir(s.paths.Sandboxes()), syncDir(s.paths.Containers()))
		}
		return errors.Join(err, os.RemoveAll(out[0]), os.RemoveAll(out[1]))
	}, nil
}

// putContainerAside takes a container, and its name with it, off the record.
func (s *Store) putContainerAside(id string, durable bool) (out string, err error) {
	names, err := s.namesOf(id)
	if err == nil {
		out, err = s.putAside(s.paths.Container(id), durable)
	}
	for _, name := range names {
		err = errors.Join(err, os.Remove(s.paths.Name(name)))
	}
	return out, err
}

// namesOf a container whose record may be damaged.
func (s *Store) namesOf(id string) ([]string, error) {
	var c Container
	if s.read(id, &c) == nil && CheckName(c.Name) == nil {
		if owner, err := s.owner(c.Name); err == nil && owner == id {
			return []string{c.Name}, nil
		}
	}
	all, err := os.ReadDir(s.paths.Names())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range all {
		if owner, err := s.owner(n.Name()); err == nil && owner == id {
			names = append(names, n.Name())
		}
	}
	return names, nil
}

// RemoveSandbox takes a sandbox and its runtime directory off the disk. That there is none is no error.
func (s *Store) RemoveSandbox(ctx context.Context, id string) error {
	if !validID(id) {
		return sandboxNotFound(id)
	}
	changing, err := s.lockForChange(ctx)
	if err != nil {
		return err
	}
	defer changing.Close()
	run := s.runOf(id)
	out, err := s.putAside(s.paths.Sandbox(id), true)
	err = errors.Join(err, os.RemoveAll(out), os.RemoveAll(run))
	if err != nil {
		return &fault.Error{Reason: reasonOf(err), Op: "remove sandbox", Subject: id, Cause: bare(err)}
	}
	return nil
}

// runOf returns the runtime directory of a sandbox.
func (s *Store) runOf(id string) string {
	run := s.paths.SandboxRun(id)
	// A session with another XDG_RUNTIME_DIR may have started it. The name is checked because it is removed with all that is in it.
	if b, err := s.GetSandbox(id); err == nil && filepath.IsAbs(b.RuntimeDir) && filepath.Base(b.RuntimeDir) == filepath.Base(run) {
		run = b.RuntimeDir
	}
	return run
}

// putAside lets a directory disappear in one step, and returns where it is to be removed; "" if there was none.
func (s *Store) putAside(dir string, durable bool) (string, error) {
	out := filepath.Join(s.paths.staging(), filepath.Base(dir)+"-"+NewID())
	err := os.Rename(dir, out)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil || !durable {
		return out, err
	}
	return out, syncDir(filepath.Dir(dir))
}

// lockForChange takes the store's lock and clears away what a holder that died has left half made.
func (s *Store) lockForChange(ctx context.Context) (*lock.Lock, error) {
	held, err := lock.Acquire(ctx, s.paths.Lock())
	if err != nil {
		return nil, err
	}
	left, err := os.ReadDir(s.paths.staging())
	for _, l := range left {
		err = errors.Join(err, os.RemoveAll(filepath.Join(s.paths.staging(), l.Name())))
	}
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	return held, nil
}

// checkNameFree under the store's lock.
func (s *Store) checkNameFree(name string) error {
	owner, err := s.owner(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(s.paths.Container(owner)); owner == "" || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var c Container
	if s.read(owner, &c) == nil && c.Name != name {
		return nil // whoever has renamed it was killed
	}
	return &fault.Error{Reason: fault.AlreadyExists, Op: "use name", Subject: name,
		Cause: fmt.Errorf("container %s has it", ShortID(owner)), Hint: "remove that one or choose another name"}
}

// owner returns the id of the container that has the name, or "" if the file of the name is damaged.
func (s *Store) owner(name string) (string, error) {
	content, err := readBounded(s.paths.Name(name))
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(content))
	if !validID(id) {
		return "", nil
	}
	return id, nil
}

func sandboxNotFound(id string) error {
	return &fault.Error{Reason: fault.NotFound, Op: "find sandbox", Subject: id, Cause: errors.New("there is no such sandbox")}
}
