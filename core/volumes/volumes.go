// Package volumes keeps disks that outlive containers, by name. A volume is a directory with its disk and a record, which is written last: what has none was never
// finished. Who may remove one is asked of the caller, who knows the containers.
package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vzctl/vzctl/core/lock"
	"github.com/vzctl/vzctl/core/store"
	"github.com/vzctl/vzctl/sdk/fault"
	"github.com/vzctl/vzctl/sdk/rootfs"
)

// Volume is the record of a volume.
type Volume struct {
	Schema  int               `json:"schema"`
	Name    string            `json:"name"`
	Created time.Time         `json:"created"`
	Labels  map[string]string `json:"labels,omitempty"`
	// Anonymous volumes were made for one container.
	Anonymous bool        `json:"anonymous,omitempty"`
	Disk      rootfs.Disk `json:"disk"`
	// Journal is how file data is journalled: "ordered", "writeback" or "journal"; empty: as the guest's kernel does.
	Journal string `json:"journal,omitempty"`
}

// Allocated is what a volume takes of the host's disk, in bytes.
func (v Volume) Allocated() (int64, error) {
	info, err := os.Stat(v.Disk.Path)
	if err != nil {
		return 0, err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512, nil
	}
	return info.Size(), nil
}

// Store is the directory of all volumes. Any number of processes may use it.
type Store struct{ paths store.Paths }

// At returns the store of a root.
func At(paths store.Paths) Store { return Store{paths} }

// removing begins the names of what is being removed, which no volume can have.
const removing = ".removing-"

// change takes the lock under which volumes come and go, and removes what was left half removed.
func (s Store) change(ctx context.Context) (*lock.Lock, error) {
	if err := os.MkdirAll(s.paths.Volumes(), 0o700); err != nil {
		return nil, err
	}
	held, err := lock.Acquire(ctx, s.paths.VolumesLock())
	if err != nil {
		return nil, err
	}
	left, err := filepath.Glob(filepath.Join(s.paths.Volumes(), removing+"*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	return held, nil
}

// Get returns one volume.
func (s Store) Get(name string) (v Volume, err error) {
	if err := store.CheckName(name); err != nil {
		return v, err
	}
	err = store.ReadJSON(s.paths.VolumeRecord(name), &v)
	if errors.Is(err, fs.ErrNotExist) {
		return v, notFound(name)
	}
	if err == nil && (v.Name != name || v.Disk.Path != s.paths.VolumeDisk(name)) {
		err = &fault.Error{Reason: fault.Internal, Op: "read the record of volume", Subject: name, Cause: errors.New("it is of another")}
	}
	return v, err
}

func notFound(name string) error {
	return &fault.Error{Reason: fault.NotFound, Op: "find volume", Subject: name, Cause: errors.New("there is no such volume"), Hint: "vzctl volume ls shows all"}
}

// List returns all volumes by name. One whose record is damaged is an error beside the others.
func (s Store) List() (list []Volume, err error) {
	entries, err := os.ReadDir(s.paths.Volumes())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		v, getErr := s.Get(e.Name())
		switch {
		case getErr == nil:
			list = append(list, v)
		case !errors.Is(getErr, fault.NotFound): // else it is being made, or removed
			err = errors.Join(err, getErr)
		}
	}
	return list, err
}

// Ensure returns the volume of that name; if there is none it is made, with a disk that format makes at a path where nothing is.
func (s Store) Ensure(ctx context.Context, v Volume, format func(path string) (rootfs.Disk, error)) (there Volume, made bool, err error) {
	if err := store.CheckName(v.Name); err != nil {
		return v, false, err
	}
	held, err := s.change(ctx)
	if err != nil {
		return v, false, err
	}
	defer held.Close()
	there, err = s.Get(v.Name)
	if !errors.Is(err, fault.NotFound) {
		return there, false, err
	}
	dir := s.paths.Volume(v.Name)
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return v, false, err
	}
	v.Schema, v.Created = store.SchemaVersion, time.Now()
	if v.Disk, err = format(s.paths.VolumeDisk(v.Name)); err == nil {
		err = store.WriteJSON(s.paths.VolumeRecord(v.Name), v, true)
	}
	if err == nil {
		err = syncDir(s.paths.Volumes()) // or what guests have on the disk could be lost with its name
	}
	if err != nil {
		return v, false, errors.Join(err, os.RemoveAll(dir))
	}
	return v, true, nil
}

// Remove removes a volume, unless users names containers that have it.
func (s Store) Remove(ctx context.Context, name string, users func() ([]string, error)) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	held, err := s.change(ctx)
	if err != nil {
		return err
	}
	defer held.Close()
	if _, err := os.Lstat(s.paths.VolumeRecord(name)); errors.Is(err, fs.ErrNotExist) {
		return notFound(name)
	}
	having, err := users()
	if err != nil {
		return err
	}
	if len(having) > 0 {
		return &fault.Error{Reason: fault.FailedPrecondition, Op: "remove volume", Subject: name,
			Cause: fmt.Errorf("it is used by %s", quoted(having)), Hint: "remove the containers first"}
	}
	used, err := lock.Try(s.paths.VolumeUse(name))
	if errors.Is(err, lock.ErrHeld) {
		return &fault.Error{Reason: fault.FailedPrecondition, Op: "remove volume", Subject: name, Cause: errors.New("a machine is using it")}
	}
	if err != nil {
		return err
	}
	defer used.Close()
	out := filepath.Join(s.paths.Volumes(), removing+store.NewID())
	if err := os.Rename(s.paths.Volume(name), out); err != nil {
		return err
	}
	return os.RemoveAll(out)
}

// Use has the volume for the caller's machine until the result is closed: alone, or with others who only read. users names those who may have it, for the refusal.
func (s Store) Use(name string, readOnly bool, users func() ([]string, error)) (*lock.Lock, error) {
	try := lock.Try
	if readOnly {
		try = lock.TryShared
	}
	held, err := try(s.paths.VolumeUse(name))
	if !errors.Is(err, lock.ErrHeld) {
		return held, err
	}
	cause := errors.New("another container is using it")
	if having, err := users(); err == nil && len(having) > 0 {
		cause = fmt.Errorf("%s is using it", quoted(having))
	}
	return nil, &fault.Error{Reason: fault.FailedPrecondition, Op: "use volume", Subject: name, Cause: cause,
		Hint: "stop that first, or have all of them mount it read-only: a disk has one writer"}
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func quoted(names []string) string {
	words := make([]string, len(names))
	for i, name := range names {
		words[i] = fmt.Sprintf("container %q", name)
	}
	return strings.Join(words, ", ")
}
