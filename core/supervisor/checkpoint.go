package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/vzctl/vzctl/core/disk"
	"github.com/vzctl/vzctl/core/sandbox"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
)

// saves are the checkpoints that are being made: one after the other, and all given up when the container is to stop.
type saves struct {
	turn chan struct{} // held by the one that is being made

	mu      sync.Mutex
	going   sync.WaitGroup
	stopped bool
	cancels map[*context.CancelCauseFunc]bool
}

var errStopping = &fault.Error{Reason: fault.FailedPrecondition, Op: "checkpoint container", Cause: errors.New("it is being stopped")}

// begin waits for its turn, and returns a context that ends when the container is to stop.
func (s *saves) begin(ctx context.Context) (context.Context, func(), error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		<-s.turn
		return nil, nil, errStopping
	}
	ctx, cancel := context.WithCancelCause(ctx)
	if s.cancels == nil {
		s.cancels = map[*context.CancelCauseFunc]bool{}
	}
	s.cancels[&cancel] = true
	s.going.Add(1)
	return ctx, func() {
		s.mu.Lock()
		delete(s.cancels, &cancel)
		s.mu.Unlock()
		cancel(nil)
		s.going.Done()
		<-s.turn
	}, nil
}

// giveUp ends those that are not on record yet, lets none begin, and returns when the container goes on, or has been saved.
func (s *saves) giveUp() {
	s.mu.Lock()
	s.stopped = true
	for cancel := range s.cancels {
		(*cancel)(errStopping)
	}
	s.mu.Unlock()
	s.going.Wait()
}

// checkpoint saves the container. What it was saved in before is replaced in the moment in which the new one is on record.
func (s *supervision) checkpoint(ctx context.Context, leaveRunning, loseConnections bool) error {
	err := s.save(ctx, leaveRunning, loseConnections)
	if err != nil || leaveRunning {
		return err
	}
	_, err = s.wait(context.WithoutCancel(ctx))
	return err
}

func (s *supervision) save(ctx context.Context, leaveRunning, loseConnections bool) error {
	ctx, end, err := s.saves.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := s.savable(leaveRunning); err != nil {
		return s.noCheckpoint(err)
	}
	// A probe is no process that anybody would miss.
	release, err := s.prober.hold(ctx)
	if err != nil {
		return s.noCheckpoint(err)
	}
	defer release()
	name, err := s.store.NewCheckpoint(s.sandbox.ID)
	if err != nil {
		return s.noCheckpoint(err)
	}
	err = s.box.Save(ctx, sandbox.SaveRequest{
		Directory: s.store.Paths().SandboxCheckpoint(s.sandbox.ID, name), LeaveRunning: leaveRunning, LoseConnections: loseConnections,
		Commit: func(ctx context.Context, stateBytes uint64, inputEnded bool) error {
			return s.commit(ctx, store.Checkpoint{Directory: name, SizeBytes: int64(stateBytes), Layer: leaveRunning, InputEnded: inputEnded})
		},
	})
	if tidyErr := s.removeStray(); tidyErr != nil {
		s.log.Warn("cannot remove what is left of a checkpoint", "error", tidyErr)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
			err = cause
		}
		return s.noCheckpoint(err)
	}
	s.tell(ctx, "checkpoint", nil)
	return nil
}

// noCheckpoint says what was not done, if that is not clear.
func (s *supervision) noCheckpoint(err error) error {
	return fmt.Errorf("container %q has no checkpoint: %w", s.name(), err)
}

// removeStray removes all directories of checkpoints but that on record.
func (s *supervision) removeStray() error {
	c, err := s.store.Get(s.container.ID)
	if err != nil {
		return err
	}
	keep := ""
	if c.Checkpoint != nil {
		keep = c.Checkpoint.Directory
	}
	return s.store.RemoveCheckpoints(s.sandbox.ID, keep)
}

// commit makes what was saved the container's checkpoint. The VM stands still.
func (s *supervision) commit(ctx context.Context, saved store.Checkpoint) error {
	if err := s.output.Sync(); err != nil {
		return err
	}
	saved.Made = time.Now()
	if lease, ok := s.box.Endpoint(); ok {
		saved.Addresses, saved.MAC = lease.Endpoint().Addresses, lease.Endpoint().MAC
	}
	if err := s.commitDisks(ctx, &saved); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	ctx = context.WithoutCancel(ctx) // it is a checkpoint, or it is none
	_, err := s.store.Update(ctx, s.container.ID, func(c *store.Container) error {
		c.Checkpoint = &saved
		return nil
	})
	if err != nil {
		// The record may have been written all the same, and not be on the disk for certain.
		if c, getErr := s.store.Get(s.container.ID); getErr == nil && c.Checkpoint != nil && c.Checkpoint.Directory == saved.Directory {
			s.log.Warn("the checkpoint may not outlive the host's uptime", "error", err)
			return nil
		}
	}
	return err
}

// commitDisks notes how the disks are that the guest has flushed; the writable layer of a container that goes on is copied.
func (s *supervision) commitDisks(ctx context.Context, saved *store.Checkpoint) error {
	var paths []string
	for _, d := range s.container.Disks {
		paths = append(paths, d.Path)
	}
	if layer := s.container.Layer.Path; layer != "" {
		if saved.Layer {
			dir := s.store.Paths().SandboxCheckpoint(s.sandbox.ID, saved.Directory)
			size, err := disk.Copy(ctx, layer, filepath.Join(dir, layerFile))
			if err != nil {
				return err
			}
			saved.SizeBytes += size
		} else {
			if err := disk.Sync(layer); err != nil {
				return err
			}
			paths = append(paths, layer)
		}
	}
	volumes, written := s.volumeDisks()
	for _, path := range written {
		if err := disk.Sync(path); err != nil {
			return err
		}
	}
	paths = append(paths, volumes...)
	for _, path := range paths {
		state, err := store.StateOf(path)
		if err != nil {
			return err
		}
		saved.Disks = append(saved.Disks, state)
	}
	return nil
}

// layerFile is the copy of the writable layer in a checkpoint's directory.
const layerFile = "layer.img"

// restores reports whether this start goes on from a checkpoint.
func (s *supervision) restores() bool { return s.container.Run != nil && s.container.Run.Restore }

// addRestore has the sandbox go on from the container's checkpoint, if its disks are as they were.
func (s *supervision) addRestore(spec *sandbox.Spec) error {
	dir, err := s.store.CheckpointDir(s.container)
	if err != nil {
		return err
	}
	saved := s.container.Checkpoint
	for _, was := range saved.Disks {
		now, err := store.StateOf(was.Path)
		if err == nil && !was.Same(now) {
			err = errors.New("it was changed since the checkpoint")
		}
		if err != nil {
			return &fault.Error{Reason: fault.FailedPrecondition, Op: "use disk", Subject: was.Path, Cause: err, Hint: "remove the checkpoint with vzctl checkpoint --remove"}
		}
	}
	if saved.Layer && spec.Layer != nil {
		layer := *spec.Layer
		layer.Path = filepath.Join(dir, layerFile)
		spec.Layer = &layer
	}
	spec.Restore = &sandbox.Restore{Directory: dir, Addresses: saved.Addresses, MAC: saved.MAC, InputEnded: saved.InputEnded}
	return nil
}

// consume uses the checkpoint up: from now on the disks are not as they were. A copy of the writable layer takes the place of what the container wrote since.
func (s *supervision) consume(ctx context.Context) error {
	dir, err := s.store.CheckpointDir(s.container)
	if err != nil {
		return err
	}
	if _, err := s.store.Update(ctx, s.container.ID, func(c *store.Container) error { c.Checkpoint = nil; return nil }); err != nil {
		return err
	}
	if !s.container.Checkpoint.Layer || s.container.Layer.Path == "" {
		return nil
	}
	return os.Rename(filepath.Join(dir, layerFile), s.container.Layer.Path) // the VM has it open
}

// tidy removes what a restored container does not need any more.
func (s *supervision) tidy() {
	if !s.restores() {
		return
	}
	if err := s.removeStray(); err != nil {
		s.log.Warn("cannot remove a checkpoint that was used", "error", err)
	}
}
