package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// NewCheckpoint makes an empty directory for a checkpoint of a sandbox, and returns its name. It counts for nothing until it is on record.
func (s *Store) NewCheckpoint(sandbox string) (name string, err error) {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	name = checkpointPrefix + hex.EncodeToString(b[:])
	if err := os.Mkdir(s.paths.SandboxCheckpoint(sandbox, name), 0o700); err != nil {
		return "", err
	}
	return name, syncDir(s.paths.Sandbox(sandbox))
}

var checkpointPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^checkpoint-[0-9a-f]{16}$`) })

// RemoveCheckpoints removes the directories of all checkpoints of a sandbox but one, "" being none: those that are on no record any more, or never were.
func (s *Store) RemoveCheckpoints(sandbox, but string) error {
	if !validID(sandbox) {
		return sandboxNotFound(sandbox)
	}
	entries, err := os.ReadDir(s.paths.Sandbox(sandbox))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), checkpointPrefix) && e.Name() != but {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.paths.Sandbox(sandbox), e.Name())))
		}
	}
	return err
}

// CheckpointDir returns where a container's checkpoint is. A record that says anything but a name of NewCheckpoint is damaged.
func (s *Store) CheckpointDir(c Container) (string, error) {
	if c.Checkpoint == nil || !checkpointPattern().MatchString(c.Checkpoint.Directory) {
		return "", damaged(s.paths.ContainerRecord(c.ID), errors.New("it names no checkpoint"))
	}
	return s.paths.SandboxCheckpoint(c.Sandbox, c.Checkpoint.Directory), nil
}

// StateOf a disk's file as it is.
func StateOf(path string) (DiskState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return DiskState{}, err
	}
	return DiskState{Path: path, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Same says whether the disk's file has not been changed.
func (d DiskState) Same(now DiskState) bool {
	return d.Size == now.Size && d.Modified.Equal(now.Modified)
}
