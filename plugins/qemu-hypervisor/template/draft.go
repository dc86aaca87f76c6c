package template

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vzctl/vzctl/sdk/bootid"
)

const stagingPrefix = "making-"

// Draft is a template that is being made. It holds the store's lock for its key.
type Draft struct {
	// Dir is for whatever is needed while it is made.
	Dir string
	// Memory is for the guest's memory, and State for that of its devices. Both are empty.
	Memory, State *os.File

	store Store
	key   string
	lock  *os.File
}

// Draft begins to make a template. busy says that somebody else does.
func (s Store) Draft(key string, memorySize int64) (d *Draft, busy bool, err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, false, err
	}
	if err := s.own(); err != nil {
		return nil, false, err
	}
	lock, busy, err := s.lock(key)
	if lock == nil {
		return nil, busy, err
	}
	d = &Draft{store: s, key: key, lock: lock}
	if err := d.begin(memorySize); err != nil {
		return nil, false, errors.Join(err, d.Discard())
	}
	return d, false, nil
}

// begin makes the directory under a name that tells the key, so that what a killed maker left is found.
func (d *Draft) begin(memorySize int64) (err error) {
	d.Dir = filepath.Join(d.store.dir, stagingPrefix+d.key)
	if err := os.RemoveAll(d.Dir); err != nil {
		return err
	}
	if err := os.Mkdir(d.Dir, 0o700); err != nil {
		return err
	}
	if d.Memory, err = d.create(memoryFile); err != nil {
		return err
	}
	if err := d.Memory.Truncate(memorySize); err != nil {
		return err
	}
	d.State, err = d.create(stateFile)
	return err
}

func (d *Draft) create(name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(d.Dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// About is what is kept with a template.
type About struct {
	// Description is for people.
	Description string
	// Console is what the guest has said.
	Console []byte
	// Disks are the descriptors by which the process that was saved had its writable disks.
	Disks []int
	// Sizes are those that the guest knows its disks by, in bytes.
	Sizes []int64
}

// Commit makes the template one that Open finds. Nobody must write to its files any more; what else is in Dir is removed. It is not synced, see Sync.
func (d *Draft) Commit(about About) error {
	boot, err := bootid.Read()
	if err != nil {
		return err
	}
	made := record{Made: time.Now(), Description: about.Description, Disks: about.Disks, Sizes: about.Sizes, Boot: boot}
	for _, f := range []struct {
		file *os.File
		is   *identity
	}{{d.Memory, &made.Memory}, {d.State, &made.State}} {
		info, err := f.file.Stat()
		if err != nil {
			return err
		}
		*f.is = identify(info)
	}
	if err := os.WriteFile(filepath.Join(d.Dir, consoleFile), about.Console, 0o600); err != nil {
		return err
	}
	if err := made.write(d.Dir); err != nil {
		return err
	}
	if err := keepOnly(d.Dir, memoryFile, stateFile, consoleFile, recordFile); err != nil {
		return err
	}
	final := filepath.Join(d.store.dir, d.key)
	if err := os.Rename(d.Dir, final); err != nil { // there is a damaged one, or one that somebody made before our lock
		if err := d.store.discard(final); err != nil {
			return err
		}
		if err := os.Rename(d.Dir, final); err != nil {
			return err
		}
	}
	return nil
}

func keepOnly(dir string, names ...string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(names, e.Name()) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// Discard ends the making. After a Commit it removes nothing of the template.
func (d *Draft) Discard() error {
	for _, file := range []*os.File{d.Memory, d.State} {
		if file != nil {
			_ = file.Close()
		}
	}
	err := os.RemoveAll(d.Dir)
	return errors.Join(err, d.lock.Close())
}
